/* A server of the future, for as long as the test wants it: the program that RSTMDB_NEWER_SERVER names, which
 * make sets. */

#ifndef NEWER_H
#define NEWER_H

#include "check.h"

#include <sys/wait.h>

typedef struct newer_server {
    pid_t process;
    /* It ends when this is closed. */
    int input;
    char url[64];
} newer_server;

static inline void start_newer(newer_server *server) {
    const char *program = getenv("RSTMDB_NEWER_SERVER");
    int input[2], output[2];
    CHECK(program && pipe(input) == 0 && pipe(output) == 0);
    server->process = fork();
    CHECK(server->process >= 0);
    if (server->process == 0) {
        dup2(input[0], 0);
        dup2(output[1], 1);
        close(input[1]);
        execl(program, program, (char *)NULL);
        _exit(127);
    }
    close(input[0]);
    close(output[1]);
    server->input = input[1];
    /* {"listening":"127.0.0.1:PORT"} and a line's end */
    char line[64] = "";
    size_t len = 0;
    while (len + 1 < sizeof line && !strchr(line, '\n')) {
        CHECK(read(output[0], line + len, 1) == 1);
        line[++len] = 0;
    }
    close(output[0]);
    const char *address = strstr(line, "127.0.0.1:");
    CHECK(address);
    snprintf(server->url, sizeof server->url, "rstmdb://%.*s", (int)strcspn(address, "\""), address);
}

static inline void stop_newer(newer_server *server) {
    int status = 0;
    close(server->input);
    CHECK(waitpid(server->process, &status, 0) == server->process);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

#endif
