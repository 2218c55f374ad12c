/*
 * A wall clock that is off, preloaded into the server: the number in the file CLOCK_SHIFT, in milliseconds, is
 * added to it. The file is read again 20 times a second; without it the clock is right.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static _Atomic long long shift_ms, looked_ms = -1000;

static long long shift(void)
{
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    long long ms = now.tv_sec * 1000LL + now.tv_nsec / 1000000;
    if (ms - atomic_load(&looked_ms) >= 50) {
        atomic_store(&looked_ms, ms);
        const char *path = getenv("CLOCK_SHIFT");
        char text[32] = "0";
        int file = path ? syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0) : -1;
        if (file >= 0) {
            long got = syscall(SYS_read, file, text, sizeof text - 1);
            text[got > 0 ? got : 0] = 0;
            syscall(SYS_close, file);
        }
        atomic_store(&shift_ms, atoll(text));
    }
    return atomic_load(&shift_ms);
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int failed = syscall(SYS_clock_gettime, clock, time);
    if (failed || clock != CLOCK_REALTIME)
        return failed;
    long long off = shift(), ns = time->tv_nsec + off % 1000 * 1000000;
    time->tv_sec += off / 1000 + (ns >= 1000000000) - (ns < 0);
    time->tv_nsec = ns - (ns >= 1000000000) * 1000000000LL + (ns < 0) * 1000000000LL;
    return 0;
}
