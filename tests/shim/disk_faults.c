/*
 * A disk that fails, preloaded into the server: calls on files below DISK_FAULTS_DATA fail or wait
 * while a file in DISK_FAULTS_FLAGS says so.
 *
 * The flag files are `write`, `sync`, `rename` and `remove`. Each holds two words: an effect (`ENOSPC`,
 * `EIO`, `half` or `hold`) and a part of the path it is for. Half of a write is done, and of the last byte
 * nothing: the disk is full. A call that is held makes the file `CALL.held`, and waits until its flag is
 * gone.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

/* What a flag says; 0 bytes when there is none. Calls the system directly: nothing here is intercepted. */
static size_t flag(const char *path, char *text, size_t size)
{
    int file = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (file < 0)
        return 0;
    ssize_t got = syscall(SYS_read, file, text, size - 1);
    syscall(SYS_close, file);
    text[got > 0 ? got : 0] = 0;
    return got > 0 ? (size_t)got : 0;
}

/* No error of the system: a write does half of what it is asked for. */
#define HALF (-1)

/* The error a call on a path has to fail with; 0 when it is to be done. */
static int fault(const char *call, const char *path)
{
    const char *data = getenv("DISK_FAULTS_DATA"), *flags = getenv("DISK_FAULTS_FLAGS");
    if (!data || !flags || strncmp(path, data, strlen(data)) != 0)
        return 0;
    char name[PATH_MAX], held[PATH_MAX], text[256], effect[32], part[128];
    snprintf(name, sizeof name, "%s/%s", flags, call);
    if (!flag(name, text, sizeof text) || sscanf(text, "%31s %127s", effect, part) != 2)
        return 0;
    if (!strstr(path + strlen(data), part))
        return 0;
    if (!strcmp(effect, "ENOSPC"))
        return ENOSPC;
    if (!strcmp(effect, "EIO"))
        return EIO;
    if (!strcmp(effect, "half"))
        return HALF;
    snprintf(held, sizeof held, "%s/%s.held", flags, call);
    int made = syscall(SYS_openat, AT_FDCWD, held, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (made >= 0)
        syscall(SYS_close, made);
    while (flag(name, text, sizeof text))
        poll(NULL, 0, 1);
    return 0;
}

static int fault_of_file(const char *call, int file)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return 0;
    path[length] = 0;
    return fault(call, path);
}

static int fault_at(const char *call, int directory, const char *path)
{
    char link[64], whole[2 * PATH_MAX];
    if (*path == '/' || directory == AT_FDCWD)
        return fault(call, path);
    snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
    ssize_t length = readlink(link, whole, PATH_MAX - 1);
    if (length <= 0)
        return 0;
    snprintf(whole + length, sizeof whole - (size_t)length, "/%s", path);
    return fault(call, whole);
}

#define NEXT(type, name, parameters)                                                                     \
    static type(*next) parameters;                                                                       \
    if (!next)                                                                                           \
        next = (type(*) parameters)dlsym(RTLD_NEXT, #name)

#define FAIL(problem)                                                                                    \
    do {                                                                                                 \
        errno = (problem);                                                                               \
        return -1;                                                                                       \
    } while (0)

/* How much of a write is done; 0 after setting what it fails with. */
static size_t part_of_write(int file, size_t size, int *error)
{
    *error = fault_of_file("write", file);
    if (*error != HALF)
        return *error ? 0 : size;
    *error = ENOSPC;
    return size / 2;
}

#define WRITE(name, parameters, arguments)                                                               \
    ssize_t name parameters                                                                              \
    {                                                                                                    \
        NEXT(ssize_t, name, parameters);                                                                 \
        int error;                                                                                       \
        size_t part = part_of_write(file, size, &error);                                                 \
        if (error && !part)                                                                              \
            FAIL(error);                                                                                 \
        size = part;                                                                                     \
        return next arguments;                                                                           \
    }

WRITE(write, (int file, const void *data, size_t size), (file, data, size))
WRITE(pwrite, (int file, const void *data, size_t size, off_t at), (file, data, size, at))
WRITE(pwrite64, (int file, const void *data, size_t size, off64_t at), (file, data, size, at))

/* Where there is none nothing is written by way of a mapping, which no call could make fail. */
int memfd_create(const char *name, unsigned int flags)
{
    (void)name;
    (void)flags;
    errno = ENOSYS;
    return -1;
}

#define CALL(name, parameters, arguments, fault)                                                         \
    int name parameters                                                                                  \
    {                                                                                                    \
        NEXT(int, name, parameters);                                                                     \
        int error = fault;                                                                               \
        if (error)                                                                                       \
            FAIL(error);                                                                                 \
        return next arguments;                                                                           \
    }

CALL(fsync, (int file), (file), fault_of_file("sync", file))
CALL(fdatasync, (int file), (file), fault_of_file("sync", file))
CALL(rename, (const char *from, const char *to), (from, to), fault("rename", to))
CALL(unlink, (const char *path), (path), fault("remove", path))
CALL(renameat, (int before, const char *from, int behind, const char *to), (before, from, behind, to),
     fault_at("rename", behind, to))
CALL(unlinkat, (int directory, const char *path, int flags), (directory, path, flags),
     fault_at("remove", directory, path))
