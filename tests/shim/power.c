/*
 * A disk that loses power, preloaded into the server: what was written below POWER_DATA and not yet synced is noted in
 * files in POWER_NOTES, for whoever kills the process to take back.
 *
 * A note has the name of its file below POWER_DATA, with `%` for `/`, and holds a line with place and size for each write. A sync
 * removes it: a write beside a sync counts as synced, as it may have been.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

/* Where the notes on a file are; 0 for files elsewhere. */
static int note_of(int file, char *note, size_t size)
{
    const char *data = getenv("POWER_DATA"), *notes = getenv("POWER_NOTES");
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (!data || !notes || length <= 0)
        return 0;
    path[length] = 0;
    size_t root = strlen(data);
    if (strncmp(path, data, root) != 0 || path[root] != '/')
        return 0;
    for (char *at = path + root + 1; (at = strchr(at, '/'));)
        *at = '%';
    return snprintf(note, size, "%s/%s", notes, path + root + 1) < (int)size;
}

static ssize_t (*next_write)(int, const void *, size_t, off64_t);

ssize_t pwrite64(int file, const void *data, size_t size, off64_t at)
{
    char note[2 * PATH_MAX], line[64];
    if (!next_write)
        next_write = (ssize_t(*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
    if (note_of(file, note, sizeof note)) {
        /* Before the write, so that none is missing. */
        int notes = open(note, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        int length = snprintf(line, sizeof line, "%lld %zu\n", (long long)at, size);
        if (notes < 0 || write(notes, line, (size_t)length) != length)
            abort();
        close(notes);
    }
    return next_write(file, data, size, at);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t at)
{
    return pwrite64(file, data, size, at);
}

#define SYNC(name)                                                                                       \
    int name(int file)                                                                                   \
    {                                                                                                    \
        static int (*next)(int);                                                                         \
        char note[2 * PATH_MAX];                                                                         \
        if (!next)                                                                                       \
            next = (int (*)(int))dlsym(RTLD_NEXT, #name);                                                \
        int done = next(file);                                                                           \
        if (!done && note_of(file, note, sizeof note))                                                   \
            unlink(note);                                                                                \
        return done;                                                                                     \
    }

SYNC(fsync)
SYNC(fdatasync)
