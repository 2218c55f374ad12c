/* Scenarios and programs; see suite.h. */

#define _GNU_SOURCE
#include "suite.h"
#include "json.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <ftw.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define START_MS 1767225600000
#define EVENT_TIMEOUT_MS 10000
#define WATCHES_MAX 512
#define TEXT_MAX 65536

/* One scenario or program with its own empty database. */
typedef struct run {
    const language *language;
    yyjson_mut_doc *doc;   /* owns everything the run makes */
    yyjson_mut_val *saved; /* the values that `$ref` finds */
    yyjson_mut_val *options;
    char directory[512];
    int host;      /* the connection to the host of servers, 0 for none; */
    FILE *answers; /* what comes over it */
    void *db;
    int64_t advanced_ms;
    struct {
        const char *name;
        void *watch;
    } watches[WATCHES_MAX];
    size_t watch_count;
    char message[TEXT_MAX];
} run;

outcome outcome_of(bool failed, const void *text, size_t len) {
    outcome made = {failed, malloc(len + 1), len};
    if (!made.text) {
        abort();
    }
    if (len) {
        memcpy(made.text, text, len);
    }
    made.text[len] = 0;
    return made;
}

static bool fail(run *run, const char *what, const char *detail) {
    snprintf(run->message, sizeof run->message, "%s%s%s", what, detail ? ": " : "", detail ? detail : "");
    return false;
}

static const char *target(void) {
    const char *target = getenv("RSTMDB_TARGET");
    return target ? target : "mem:";
}

static bool is_remote(void) { return strncmp(target(), "rstmdb:", 7) == 0; }

/* ------------------------------------------------------------------------------- databases */

/* Asks the host of servers; gives its answer, or NULL after `fail`. */
static yyjson_mut_val *ask_host(run *run, const char *member, yyjson_mut_val *value) {
    yyjson_mut_val *question = yyjson_mut_obj(run->doc);
    yyjson_mut_obj_add_val(run->doc, question, member, value);
    char *text = json_text(question), line[TEXT_MAX];
    int sent = dprintf(run->host, "%s\n", text);
    free(text);
    if (sent < 0 || !fgets(line, sizeof line, run->answers)) {
        fail(run, "the host of servers does not answer", NULL);
        return NULL;
    }
    yyjson_mut_val *answer = json_parse(run->doc, line, strlen(line));
    if (!answer || yyjson_mut_obj_get(answer, "error")) {
        fail(run, "the host of servers", line);
        return NULL;
    }
    return answer;
}

static bool connect_host(run *run) {
    char host[256];
    snprintf(host, sizeof host, "%s", getenv("RSTMDB_HOST") ? getenv("RSTMDB_HOST") : "");
    char *port = strrchr(host, ':');
    if (!port) {
        return fail(run, "RSTMDB_HOST is not ADDRESS:PORT", host);
    }
    *port++ = 0;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    if (getaddrinfo(host, port, &hints, &found)) {
        return fail(run, "RSTMDB_HOST is not ADDRESS:PORT", host);
    }
    run->host = socket(found->ai_family, SOCK_STREAM, 0);
    bool is_connected = !connect(run->host, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    run->answers = is_connected ? fdopen(run->host, "r") : NULL;
    return run->answers || fail(run, "can't connect to RSTMDB_HOST", host);
}

static bool open_url(run *run, const char *url, const char *options) {
    outcome failure = {0};
    run->db = run->language->open(url, options, &failure);
    if (!run->db) {
        fail(run, "open", failure.text);
        free(failure.text);
    }
    return run->db != NULL;
}

static bool open_database(run *run, bool again) {
    if (is_remote()) {
        if (!run->answers && !connect_host(run)) {
            return false;
        }
        yyjson_mut_val *answer = again ? ask_host(run, "reopen", yyjson_mut_bool(run->doc, true))
                                       : ask_host(run, "start", run->options);
        return answer && open_url(run, json_str(yyjson_mut_obj_get(answer, "url")), "");
    }
    yyjson_mut_val *clock = yyjson_mut_sint(run->doc, START_MS + run->advanced_ms);
    yyjson_mut_obj_put(run->options, yyjson_mut_str(run->doc, "manual_clock_ms"), clock);
    bool is_memory = !strcmp(target(), "mem:");
    if (!is_memory && !run->directory[0]) {
        const char *folder = getenv("TMPDIR");
        snprintf(run->directory, sizeof run->directory, "%s/rstmdb-XXXXXX", folder ? folder : "/tmp");
        if (!mkdtemp(run->directory)) {
            return fail(run, "no temporary directory", run->directory);
        }
    }
    char *options = json_text(run->options);
    bool is_open = open_url(run, is_memory ? "mem:" : run->directory, options);
    free(options);
    return is_open;
}

static void close_database(run *run) {
    for (size_t i = 0; i < run->watch_count; i++) {
        run->language->unwatch(run->watches[i].watch);
    }
    run->watch_count = 0;
    if (run->db) {
        run->language->close(run->db);
    }
    run->db = NULL;
}

static bool reopen(run *run) {
    close_database(run);
    return open_database(run, true);
}

static bool advance(run *run, int64_t ms) {
    run->advanced_ms += ms;
    if (is_remote()) {
        return ask_host(run, "advance_ms", yyjson_mut_sint(run->doc, ms)) != NULL;
    }
    outcome done = run->language->advance(run->db, ms);
    bool is_done = !done.failed || fail(run, "ADVANCE_CLOCK", done.text);
    free(done.text);
    return is_done;
}

static int remove_entry(const char *path, const struct stat *stat, int flag, struct FTW *walk) {
    (void)stat, (void)flag, (void)walk;
    return remove(path);
}

static void end_run(run *run) {
    close_database(run);
    if (run->answers) {
        fclose(run->answers);
    }
    if (run->directory[0]) {
        nftw(run->directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    }
    yyjson_mut_doc_free(run->doc);
}

/* ---------------------------------------------------------------------------------- calls */

static bool is_watch(const char *op) { return !strncmp(op, "WATCH_", 6); }

/* Calls an operation; the value is its result or its error. */
static yyjson_mut_val *call(run *run, yyjson_mut_val *step, yyjson_mut_val *args, bool *failed) {
    const char *op = json_str(yyjson_mut_obj_get(step, "op"));
    char *request = json_text(args);
    outcome got;
    if (is_watch(op)) {
        void *watch = NULL;
        got = run->language->watch(run->db, op, request, strlen(request), &watch);
        const char *name = json_str(yyjson_mut_obj_get(step, "watch"));
        if (!got.failed && run->watch_count == WATCHES_MAX) {
            abort();
        }
        if (!got.failed) {
            run->watches[run->watch_count].name = name;
            run->watches[run->watch_count++].watch = watch;
        }
    } else {
        got = run->language->call(run->db, op, request, strlen(request));
    }
    free(request);
    *failed = got.failed;
    yyjson_mut_val *value = json_parse(run->doc, got.text, got.len);
    free(got.text);
    /* A reason that there is none of is null in the JSON of an error, and absent in a scenario. */
    if (value && *failed && yyjson_mut_is_null(yyjson_mut_obj_get(value, "reason"))) {
        yyjson_mut_obj_remove_key(value, "reason");
    }
    return value ? value : yyjson_mut_str(run->doc, "the answer is not JSON");
}

/* The next event of the stream that has the name; NULL after `fail`. */
static yyjson_mut_val *next_event(run *run, const char *name) {
    for (size_t i = run->watch_count; i-- > 0;) {
        if (strcmp(run->watches[i].name, name)) {
            continue;
        }
        outcome got = run->language->next_event(run->watches[i].watch, EVENT_TIMEOUT_MS);
        yyjson_mut_val *event = got.text ? json_parse(run->doc, got.text, got.len) : NULL;
        if (!event || got.failed) {
            fail(run, got.failed ? "the stream failed" : "an event did not come", got.text);
            event = NULL;
        }
        free(got.text);
        return event;
    }
    fail(run, "no such stream", name);
    return NULL;
}

/* ------------------------------------------------------------------------------ scenarios */

static bool matched(run *run, const char *what, yyjson_mut_val *expected, yyjson_mut_val *got) {
    char why[TEXT_MAX / 4];
    if (json_matches(expected, got, run->saved, why, sizeof why)) {
        return true;
    }
    char *text = json_text(got);
    snprintf(run->message, sizeof run->message, "%s%s, in %s", what, why, text);
    free(text);
    return false;
}

static bool run_step(run *run, yyjson_mut_val *step) {
    const char *op = json_str(yyjson_mut_obj_get(step, "op"));
    if (!strcmp(op, "REOPEN")) {
        return reopen(run);
    }
    if (!strcmp(op, "ADVANCE_CLOCK")) {
        return advance(run, yyjson_mut_get_sint(yyjson_mut_obj_get(step, "ms")));
    }
    size_t index, count;
    yyjson_mut_val *expected;
    if (!strcmp(op, "EXPECT_EVENTS")) {
        yyjson_mut_arr_foreach(yyjson_mut_obj_get(step, "events"), index, count, expected) {
            yyjson_mut_val *event = next_event(run, json_str(yyjson_mut_obj_get(step, "watch")));
            if (!event || !matched(run, "event", expected, event)) {
                return false;
            }
        }
        return true;
    }
    bool failed = false;
    yyjson_mut_val *args = json_make(run->doc, yyjson_mut_obj_get(step, "args"), run->saved);
    yyjson_mut_val *got = call(run, step, args, &failed);
    yyjson_mut_val *error = yyjson_mut_obj_get(step, "error");
    if (failed != (error != NULL)) {
        char *text = json_text(got);
        fail(run, failed ? "failed" : "succeeded", text);
        free(text);
        return false;
    }
    if (error) {
        return matched(run, "error", error, got);
    }
    expected = yyjson_mut_obj_get(step, "expect");
    if (expected && !matched(run, "result", expected, got)) {
        return false;
    }
    yyjson_mut_val *name, *path;
    yyjson_mut_obj_foreach(yyjson_mut_obj_get(step, "save"), index, count, name, path) {
        yyjson_mut_val *value = json_at(got, json_str(path));
        if (!value) {
            return fail(run, "nothing to save at", json_str(path));
        }
        yyjson_mut_obj_put(run->saved, yyjson_mut_val_mut_copy(run->doc, name),
                           yyjson_mut_val_mut_copy(run->doc, value));
    }
    return true;
}

/* Runs one scenario; says "passed", "failed" or "skipped". */
static const char *run_scenario(run *run, yyjson_mut_val *scenario) {
    size_t index, count;
    yyjson_mut_val *item;
    yyjson_mut_arr_foreach(yyjson_mut_obj_get(scenario, "requires"), index, count, item) {
        if (!strcmp(json_str(item), "reopen") && !strcmp(target(), "mem:")) {
            fail(run, "the target can't be reopened", NULL);
            return "skipped";
        }
    }
    yyjson_mut_val *options = yyjson_mut_obj_get(scenario, "options");
    run->options = options ? yyjson_mut_val_mut_copy(run->doc, options) : yyjson_mut_obj(run->doc);
    yyjson_mut_obj_put(run->options, yyjson_mut_str(run->doc, "retention"),
                       yyjson_mut_str(run->doc, "forever"));
    yyjson_mut_obj_put(run->options, yyjson_mut_str(run->doc, "free_bytes_min"), yyjson_mut_int(run->doc, 0));
    if (is_remote()) {
        yyjson_mut_obj_put(run->options, yyjson_mut_str(run->doc, "manual_clock_ms"),
                           yyjson_mut_sint(run->doc, START_MS));
    }
    if (!open_database(run, false)) {
        return "failed";
    }
    yyjson_mut_arr_foreach(yyjson_mut_obj_get(scenario, "steps"), index, count, item) {
        if (!run_step(run, item)) {
            char why[TEXT_MAX];
            memcpy(why, run->message, sizeof why);
            snprintf(run->message, sizeof run->message, "step %zu: %.*s", index, TEXT_MAX - 64, why);
            return "failed";
        }
    }
    return "passed";
}

/* --------------------------------------------------------------------------------- values */

static outcome apply_text(run *run, const char *text, size_t len) {
    static const char head[] = "{\"instance_id\":\"value\",\"event\":\"SET\",\"payload\":{\"v\":";
    size_t size = sizeof head - 1 + len + 2;
    char *request = malloc(size);
    if (!request) {
        abort();
    }
    memcpy(request, head, sizeof head - 1);
    memcpy(request + sizeof head - 1, text, len);
    memcpy(request + size - 2, "}}", 2);
    outcome came = run->language->call(run->db, "APPLY_EVENT", request, size);
    free(request);
    return came;
}

/* Whether an error says what the row of the table wants. */
static bool is_refusal(run *run, yyjson_mut_val *refused, outcome came) {
    yyjson_mut_val *error = json_parse(run->doc, came.text, came.len);
    const char *reason = json_str(yyjson_mut_obj_get(refused, "reason"));
    const char *said = json_str(yyjson_mut_obj_get(refused, "said"));
    yyjson_mut_val *path = yyjson_mut_obj_get(refused, "path");
    char place[TEXT_MAX];
    snprintf(place, sizeof place, "payload.v%s", json_str(path));
    return came.failed && !strcmp(json_str(yyjson_mut_obj_get(error, "code")), "BAD_REQUEST") &&
           !strcmp(json_str(yyjson_mut_obj_get(error, "reason")), *reason ? reason : "invalid_request") &&
           strstr(json_str(yyjson_mut_obj_get(error, "message")), said) &&
           (!path || !strcmp(json_str(json_at(error, "context.path")), place));
}

static bool run_value(run *run, yyjson_mut_val *row) {
    yyjson_mut_val *text = yyjson_mut_obj_get(row, "text"), *stored = yyjson_mut_obj_get(row, "stored");
    outcome came = apply_text(run, json_str(text), yyjson_mut_get_len(text));
    char wanted[TEXT_MAX];
    snprintf(wanted, sizeof wanted, "\"ctx\":{\"v\":%s}", json_str(stored));
    bool is_good = stored ? !came.failed && strstr(came.text, wanted)
                          : is_refusal(run, yyjson_mut_obj_get(row, "refused"), came);
    if (!is_good) {
        fail(run, json_str(yyjson_mut_obj_get(row, "name")), came.text);
    }
    free(came.text);
    return is_good;
}

static bool setup_values(run *run) {
    static const char *const setup[][2] = {
        {"PUT_MACHINE",
         "{\"machine\":\"values\",\"version\":1,\"definition\":{\"states\":[\"kept\"],\"initial\":\"kept\","
         "\"transitions\":[{\"from\":\"kept\",\"event\":\"SET\",\"to\":\"kept\"}]}}"},
        {"CREATE_INSTANCE", "{\"instance_id\":\"value\",\"machine\":\"values\",\"version\":1}"},
    };
    bool is_good = true;
    for (size_t i = 0; i < 2 && is_good; i++) {
        outcome came = run->language->call(run->db, setup[i][0], setup[i][1], strlen(setup[i][1]));
        is_good = !came.failed || fail(run, setup[i][0], came.text);
        free(came.text);
    }
    return is_good;
}

static const char *run_values(run *run, const char *path) {
    yyjson_mut_val *table = json_read(run->doc, path), *row;
    run->options = yyjson_mut_obj(run->doc);
    bool is_good = table ? open_database(run, false) && setup_values(run) : fail(run, "can't read", path);
    size_t index, count;
    yyjson_mut_arr_foreach(yyjson_mut_obj_get(table, "values"), index, count, row) {
        is_good = is_good && run_value(run, row);
    }
    return is_good ? "passed" : "failed";
}

/* ------------------------------------------------------------------------------- programs */

static yyjson_mut_val *answer_of(run *run, yyjson_mut_val *step, yyjson_mut_val *got, bool failed) {
    return failed ? json_comparable_error(run->doc, got)
                  : json_comparable(run->doc, json_keep(run->doc, got, yyjson_mut_obj_get(step, "keep")));
}

/* The answer of one step of a program; NULL after `fail`. */
static yyjson_mut_val *answer(run *run, yyjson_mut_val *step) {
    const char *op = json_str(yyjson_mut_obj_get(step, "op"));
    if (!strcmp(op, "REOPEN")) {
        return !strcmp(target(), "mem:") || reopen(run) ? yyjson_mut_null(run->doc) : NULL;
    }
    if (!strcmp(op, "ADVANCE_CLOCK")) {
        int64_t ms = yyjson_mut_get_sint(yyjson_mut_obj_get(step, "ms"));
        return advance(run, ms) ? yyjson_mut_null(run->doc) : NULL;
    }
    yyjson_mut_val *list = yyjson_mut_arr(run->doc);
    if (!strcmp(op, "EVENTS")) {
        uint64_t count = yyjson_mut_get_uint(yyjson_mut_obj_get(step, "count"));
        for (uint64_t i = 0; i < count; i++) {
            yyjson_mut_val *event = next_event(run, json_str(yyjson_mut_obj_get(step, "watch")));
            if (!event) {
                return NULL;
            }
            yyjson_mut_arr_append(list, json_comparable(run->doc, event));
        }
        return list;
    }
    yyjson_mut_val *args = yyjson_mut_obj_get(step, "args");
    args = args ? yyjson_mut_val_mut_copy(run->doc, args) : yyjson_mut_obj(run->doc);
    for (;;) {
        bool failed = false;
        yyjson_mut_val *got = call(run, step, args, &failed);
        yyjson_mut_val *shown = answer_of(run, step, got, failed);
        if (!yyjson_mut_obj_get(step, "pages")) {
            return shown;
        }
        yyjson_mut_arr_append(list, shown);
        yyjson_mut_val *cursor = failed ? NULL : yyjson_mut_obj_get(got, "next_cursor");
        if (!cursor) {
            return list;
        }
        yyjson_mut_obj_put(args, yyjson_mut_str(run->doc, "cursor"),
                           yyjson_mut_val_mut_copy(run->doc, cursor));
    }
}

static const char *run_program(run *run, yyjson_mut_val *program, const char *out) {
    run->options = yyjson_mut_val_mut_copy(run->doc, yyjson_mut_obj_get(program, "options"));
    FILE *file = fopen(out, "w");
    if (!file) {
        fail(run, "can't write", out);
        return "failed";
    }
    bool is_good = open_database(run, false);
    size_t index, count;
    yyjson_mut_val *step;
    yyjson_mut_arr_foreach(yyjson_mut_obj_get(program, "steps"), index, count, step) {
        yyjson_mut_val *shown = is_good ? answer(run, step) : NULL;
        is_good = shown != NULL;
        if (shown) {
            char *text = json_canonical(shown);
            fprintf(file, "%s\n", text);
            free(text);
        }
    }
    return fclose(file) == 0 && is_good ? "passed" : "failed";
}

/* ------------------------------------------------------------------------------------ all */

static int counts[3];

static void report(const char *name, const char *outcome, const char *message) {
    counts[!strcmp(outcome, "passed") ? 0 : !strcmp(outcome, "failed") ? 1 : 2]++;
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *line = yyjson_mut_obj(doc);
    yyjson_mut_obj_add_strcpy(doc, line, "scenario", name);
    yyjson_mut_obj_add_str(doc, line, "outcome", outcome);
    yyjson_mut_obj_add_strcpy(doc, line, "message", message);
    char *text = json_text(line);
    puts(text);
    fflush(stdout);
    free(text);
    yyjson_mut_doc_free(doc);
}

static bool wants(const char *name) {
    const char *part = getenv("RSTMDB_SCENARIO");
    return !part || strstr(name, part);
}

static void run_file(const language *language, const char *folder, const char *file, const char *out) {
    char path[4096], name[1024];
    snprintf(path, sizeof path, "%s/%s", folder, file);
    int stem = (int)(strlen(file) - strlen(".json"));
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *all = json_read(doc, path), *scenario;
    if (!all) {
        report(file, "failed", "the file is not JSON");
    } else if (out) {
        struct run *one = calloc(1, sizeof *one);
        *one = (struct run){.language = language, .doc = yyjson_mut_doc_new(NULL)};
        snprintf(name, sizeof name, "programs/%.*s", stem, file);
        snprintf(path, sizeof path, "%s/%.*s.jsonl", out, stem, file);
        if (wants(name)) {
            const char *outcome = run_program(one, yyjson_mut_val_mut_copy(one->doc, all), path);
            report(name, outcome, one->message);
        }
        end_run(one);
        free(one);
    }
    size_t index, count;
    yyjson_mut_val *scenarios = out ? NULL : yyjson_mut_obj_get(all, "scenarios");
    yyjson_mut_arr_foreach(scenarios, index, count, scenario) {
        snprintf(name, sizeof name, "%.*s/%s", stem, file, json_str(yyjson_mut_obj_get(scenario, "name")));
        if (!wants(name)) {
            continue;
        }
        struct run *one = calloc(1, sizeof *one);
        *one = (struct run){.language = language, .doc = yyjson_mut_doc_new(NULL)};
        yyjson_mut_val *values = yyjson_mut_obj_get(all, "values");
        one->saved = values ? yyjson_mut_val_mut_copy(one->doc, values) : yyjson_mut_obj(one->doc);
        const char *outcome = run_scenario(one, yyjson_mut_val_mut_copy(one->doc, scenario));
        report(name, outcome, one->message);
        end_run(one);
        free(one);
    }
    yyjson_mut_doc_free(doc);
}

static int is_json(const struct dirent *entry) {
    const char *end = strrchr(entry->d_name, '.');
    return end && !strcmp(end, ".json");
}

int suite_run(const language *language) {
    const char *programs = getenv("RSTMDB_PROGRAMS"), *out = getenv("RSTMDB_OUT");
    out = programs && programs[0] ? out : NULL;
    const char *folder = out ? programs : getenv("RSTMDB_SCENARIOS");
    folder = folder ? folder : "tests/conformance/scenarios";
    struct dirent **files;
    int count = scandir(folder, &files, is_json, alphasort);
    if (count < 0) {
        fprintf(stderr, "can't list %s\n", folder);
        return 2;
    }
    for (int i = 0; i < count; i++) {
        run_file(language, folder, files[i]->d_name, out);
        free(files[i]);
    }
    free(files);
    if (!out && wants("values/table")) {
        char path[4096];
        snprintf(path, sizeof path, "%s/../values.json", folder);
        struct run *one = calloc(1, sizeof *one);
        *one = (struct run){.language = language, .doc = yyjson_mut_doc_new(NULL)};
        const char *outcome = run_values(one, path);
        report("values/table", outcome, one->message);
        end_run(one);
        free(one);
    }
    printf("{\"passed\": %d, \"failed\": %d, \"skipped\": %d}\n", counts[0], counts[1], counts[2]);
    return counts[1] == 0 && counts[0] > 0 ? 0 : 1;
}
