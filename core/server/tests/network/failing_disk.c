/* Makes writes and syncs of files below a directory fail while a flag file says so.
 *
 * Loaded before the C library. RSTMDB_FAIL_DIR is the directory, RSTMDB_FAIL_FLAG the flag file; its first
 * letter is the failure: f = the disk is full, h = it is full after half of a write, s = syncs fail.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static char failure_of(int fd) {
    const char *directory = getenv("RSTMDB_FAIL_DIR");
    const char *flag = getenv("RSTMDB_FAIL_FLAG");
    char name[64], path[4096], failure = 0;
    if (directory == NULL || flag == NULL) {
        return 0;
    }
    int saved = errno;
    int file = open(flag, O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        if (read(file, &failure, 1) != 1) {
            failure = 0;
        }
        close(file);
        snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(name, path, sizeof path - 1);
        if (length < 0 || strncmp(path, directory, strlen(directory)) != 0) {
            failure = 0;
        }
    }
    errno = saved;
    return failure;
}

static ssize_t put(const char *symbol, int fd, const void *data, size_t size, off64_t offset) {
    ssize_t (*real)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, symbol);
    char failure = failure_of(fd);
    if (failure == 'h' && size > 1) {
        return real(fd, data, size / 2, offset);
    }
    if (failure == 'f' || failure == 'h') {
        errno = ENOSPC;
        return -1;
    }
    return real(fd, data, size, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
    return put("pwrite64", fd, data, size, offset);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    return put("pwrite", fd, data, size, offset);
}

ssize_t write(int fd, const void *data, size_t size) {
    ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    char failure = failure_of(fd);
    if (failure == 'f' || failure == 'h') {
        errno = ENOSPC;
        return -1;
    }
    return real(fd, data, size);
}

static int sync_it(const char *symbol, int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, symbol);
    if (failure_of(fd) == 's') {
        errno = EIO;
        return -1;
    }
    return real(fd);
}

int fdatasync(int fd) {
    return sync_it("fdatasync", fd);
}

int fsync(int fd) {
    return sync_it("fsync", fd);
}
