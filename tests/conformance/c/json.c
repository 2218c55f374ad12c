/* See json.h. */

#define _GNU_SOURCE
#include "json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Numbers beyond 64 bits stay the text they are. */
#define READ_FLAGS YYJSON_READ_BIGNUM_AS_RAW

yyjson_mut_val *json_parse(yyjson_mut_doc *doc, const char *text, size_t len) {
    yyjson_doc *read = yyjson_read(text, len, READ_FLAGS);
    yyjson_mut_val *value = read ? yyjson_val_mut_copy(doc, yyjson_doc_get_root(read)) : NULL;
    yyjson_doc_free(read);
    return value;
}

yyjson_mut_val *json_read(yyjson_mut_doc *doc, const char *path) {
    yyjson_doc *read = yyjson_read_file(path, READ_FLAGS, NULL, NULL);
    yyjson_mut_val *value = read ? yyjson_val_mut_copy(doc, yyjson_doc_get_root(read)) : NULL;
    yyjson_doc_free(read);
    return value;
}

char *json_text(yyjson_mut_val *value) {
    char *text = yyjson_mut_val_write(value, 0, NULL);
    if (!text) {
        abort();
    }
    return text;
}

const char *json_str(yyjson_mut_val *value) {
    const char *text = yyjson_mut_get_str(value);
    return text ? text : "";
}

yyjson_mut_val *json_at(yyjson_mut_val *value, const char *path) {
    while (value && *path) {
        size_t len = strcspn(path, ".");
        value = yyjson_mut_is_arr(value) ? yyjson_mut_arr_get(value, (size_t)strtoull(path, NULL, 10))
                                         : yyjson_mut_obj_getn(value, path, len);
        path += len + (path[len] == '.');
    }
    return value;
}

yyjson_mut_val *json_make(yyjson_mut_doc *doc, yyjson_mut_val *args, yyjson_mut_val *saved) {
    size_t index, count;
    yyjson_mut_val *name, *value;
    if (!args) {
        return yyjson_mut_obj(doc);
    }
    if (yyjson_mut_is_arr(args)) {
        yyjson_mut_val *list = yyjson_mut_arr(doc);
        yyjson_mut_arr_foreach(args, index, count, value) {
            yyjson_mut_arr_append(list, json_make(doc, value, saved));
        }
        return list;
    }
    if (!yyjson_mut_is_obj(args)) {
        return yyjson_mut_val_mut_copy(doc, args);
    }
    yyjson_mut_val *reference = yyjson_mut_obj_get(args, "$ref");
    if (reference) {
        value = yyjson_mut_obj_get(saved, json_str(reference));
        return value ? yyjson_mut_val_mut_copy(doc, value) : yyjson_mut_null(doc);
    }
    yyjson_mut_val *repeat = yyjson_mut_obj_get(args, "$repeat");
    if (repeat) {
        const char *piece = json_str(yyjson_mut_arr_get(repeat, 0));
        size_t times = (size_t)yyjson_mut_get_uint(yyjson_mut_arr_get(repeat, 1)), len = strlen(piece);
        char *text = malloc(len * times + 1);
        for (size_t i = 0; text && i < times; i++) {
            memcpy(text + i * len, piece, len);
        }
        value = yyjson_mut_strncpy(doc, text, len * times);
        free(text);
        return value;
    }
    yyjson_mut_val *object = yyjson_mut_obj(doc);
    yyjson_mut_obj_foreach(args, index, count, name, value) {
        yyjson_mut_obj_add(object, yyjson_mut_val_mut_copy(doc, name), json_make(doc, value, saved));
    }
    return object;
}

static size_t length(yyjson_mut_val *value) {
    if (!yyjson_mut_is_str(value)) {
        return yyjson_mut_is_ctn(value)
                   ? yyjson_mut_is_obj(value) ? yyjson_mut_obj_size(value) : yyjson_mut_arr_size(value)
                   : SIZE_MAX;
    }
    size_t points = 0;
    const char *text = yyjson_mut_get_str(value);
    for (size_t i = 0; i < yyjson_mut_get_len(value); i++) {
        points += (text[i] & 0xC0) != 0x80; /* every byte of UTF-8 but those that go on */
    }
    return points;
}

static bool greater(yyjson_mut_val *got, yyjson_mut_val *least) {
    if (!yyjson_mut_is_int(got) || !yyjson_mut_is_int(least)) {
        return false;
    }
    if (yyjson_mut_is_sint(got) || yyjson_mut_is_sint(least)) {
        return yyjson_mut_get_sint(got) > yyjson_mut_get_sint(least);
    }
    return yyjson_mut_get_uint(got) > yyjson_mut_get_uint(least);
}

static bool contains(yyjson_mut_val *wanted, yyjson_mut_val *got, yyjson_mut_val *saved) {
    size_t i, j, wanted_count, got_count;
    yyjson_mut_val *want, *item;
    char why[16];
    yyjson_mut_arr_foreach(wanted, i, wanted_count, want) {
        bool is_there = false;
        yyjson_mut_arr_foreach(got, j, got_count, item) {
            is_there = is_there || json_matches(want, item, saved, why, sizeof why);
        }
        if (!is_there) {
            return false;
        }
    }
    return true;
}

static bool holds(const char *word, yyjson_mut_val *wanted, yyjson_mut_val *got, yyjson_mut_val *saved) {
    if (!strcmp(word, "$absent")) {
        return !got;
    }
    if (!got) {
        return false;
    }
    if (!strcmp(word, "$any")) {
        return true;
    }
    if (!strcmp(word, "$int")) {
        return yyjson_mut_is_int(got);
    }
    if (!strcmp(word, "$string")) {
        return yyjson_mut_is_str(got);
    }
    if (!strcmp(word, "$ref")) {
        yyjson_mut_val *value = yyjson_mut_obj_get(saved, json_str(wanted));
        return value && yyjson_mut_equals(value, got);
    }
    if (!strcmp(word, "$exact")) {
        return yyjson_mut_equals(wanted, got);
    }
    if (!strcmp(word, "$len")) {
        return length(got) == yyjson_mut_get_uint(wanted);
    }
    if (!strcmp(word, "$gt")) {
        yyjson_mut_val *reference = yyjson_mut_obj_get(wanted, "$ref");
        return greater(got, reference ? yyjson_mut_obj_get(saved, json_str(reference)) : wanted);
    }
    return !strcmp(word, "$contains") && contains(wanted, got, saved);
}

/* Puts a part of the path before what `why` says. */
static bool within(const char *part, char *why, size_t len) {
    char *rest = strdup(why);
    snprintf(why, len, ".%s%s", part, rest ? rest : "");
    free(rest);
    return false;
}

bool json_matches(yyjson_mut_val *expected, yyjson_mut_val *got, yyjson_mut_val *saved, char *why,
                  size_t len) {
    size_t index, count;
    yyjson_mut_val *name, *value;
    yyjson_mut_obj_foreach(expected, index, count, name, value) {
        if (json_str(name)[0] != '$') {
            break;
        }
        snprintf(why, len, " does not fit %s", json_str(name));
        return holds(json_str(name), value, got, saved);
    }
    if (got && yyjson_mut_is_obj(expected) && yyjson_mut_is_obj(got)) {
        yyjson_mut_obj_foreach(expected, index, count, name, value) {
            if (!json_matches(value, yyjson_mut_obj_get(got, json_str(name)), saved, why, len)) {
                return within(json_str(name), why, len);
            }
        }
        return true;
    }
    if (got && yyjson_mut_is_arr(expected) && yyjson_mut_is_arr(got) &&
        yyjson_mut_arr_size(expected) == yyjson_mut_arr_size(got)) {
        yyjson_mut_arr_foreach(expected, index, count, value) {
            char number[32];
            snprintf(number, sizeof number, "%zu", index);
            if (!json_matches(value, yyjson_mut_arr_get(got, index), saved, why, len)) {
                return within(number, why, len);
            }
        }
        return true;
    }
    if (got && yyjson_mut_equals(expected, got)) {
        return true;
    }
    char *text = json_text(expected);
    snprintf(why, len, " is %s %s", got ? "not" : "absent, expected", text);
    free(text);
    return false;
}

/* ---------------------------------------------------------------------- what programs compare */

yyjson_mut_val *json_keep(yyjson_mut_doc *doc, yyjson_mut_val *value, yyjson_mut_val *names) {
    if (!names) {
        return value;
    }
    yyjson_mut_val *kept = yyjson_mut_obj(doc), *name;
    size_t index, count;
    yyjson_mut_arr_foreach(names, index, count, name) {
        yyjson_mut_val *member = yyjson_mut_obj_get(value, json_str(name));
        yyjson_mut_obj_add(kept, yyjson_mut_val_mut_copy(doc, name),
                           member ? yyjson_mut_val_mut_copy(doc, member) : yyjson_mut_null(doc));
    }
    return kept;
}

static bool is_users(const char *name) {
    return !strcmp(name, "ctx") || !strcmp(name, "payload") || !strcmp(name, "initial_ctx") ||
           !strcmp(name, "definition");
}

/* The four members of an error that are compared. */
static yyjson_mut_val *reduced(yyjson_mut_doc *doc, yyjson_mut_val *error) {
    static const char *const names[] = {"code", "kind", "reason", "retryable"};
    yyjson_mut_val *object = yyjson_mut_obj(doc);
    for (size_t i = 0; i < 4; i++) {
        yyjson_mut_val *member = yyjson_mut_obj_get(error, names[i]);
        yyjson_mut_obj_add(object, yyjson_mut_str(doc, names[i]),
                           member ? yyjson_mut_val_mut_copy(doc, member) : yyjson_mut_null(doc));
    }
    return object;
}

yyjson_mut_val *json_comparable(yyjson_mut_doc *doc, yyjson_mut_val *value) {
    size_t index, count;
    yyjson_mut_val *name, *member;
    if (yyjson_mut_is_arr(value)) {
        yyjson_mut_val *list = yyjson_mut_arr(doc);
        yyjson_mut_arr_foreach(value, index, count, member) {
            yyjson_mut_arr_append(list, json_comparable(doc, member));
        }
        return list;
    }
    if (!yyjson_mut_is_obj(value)) {
        return yyjson_mut_val_mut_copy(doc, value);
    }
    if (yyjson_mut_obj_get(value, "code") && yyjson_mut_obj_get(value, "kind")) {
        return reduced(doc, value);
    }
    yyjson_mut_val *object = yyjson_mut_obj(doc);
    yyjson_mut_obj_foreach(value, index, count, name, member) {
        const char *text = json_str(name);
        if (!strcmp(text, "message")) {
            continue;
        }
        int is_own = !strcmp(text, "next_cursor") || !strcmp(text, "history_id");
        yyjson_mut_val *shown = is_own           ? yyjson_mut_bool(doc, true)
                                : is_users(text) ? yyjson_mut_val_mut_copy(doc, member)
                                                 : json_comparable(doc, member);
        yyjson_mut_obj_add(object, yyjson_mut_val_mut_copy(doc, name), shown);
    }
    return object;
}

yyjson_mut_val *json_comparable_error(yyjson_mut_doc *doc, yyjson_mut_val *error) {
    yyjson_mut_val *shown = reduced(doc, error), *object = yyjson_mut_obj(doc);
    yyjson_mut_val *index = yyjson_mut_obj_get(yyjson_mut_obj_get(error, "context"), "index");
    if (index) {
        yyjson_mut_obj_add(shown, yyjson_mut_str(doc, "index"), yyjson_mut_val_mut_copy(doc, index));
    }
    yyjson_mut_obj_add(object, yyjson_mut_str(doc, "error"), shown);
    return object;
}

/* -------------------------------------------------------------------------------- canonical text */

typedef struct text {
    char *data;
    size_t len, capacity;
} text;

static void put(text *out, const char *data, size_t len) {
    if (out->len + len + 1 > out->capacity) {
        out->capacity = (out->len + len + 1) * 2;
        out->data = realloc(out->data, out->capacity);
        if (!out->data) {
            abort();
        }
    }
    memcpy(out->data + out->len, data, len);
    out->len += len;
    out->data[out->len] = 0;
}

static void put_string(text *out, yyjson_mut_val *value) {
    static const char plain[] = "\b\f\n\r\t\"\\", letters[] = "bfnrt\"\\";
    const char *data = yyjson_mut_get_str(value);
    put(out, "\"", 1);
    for (size_t i = 0; i < yyjson_mut_get_len(value); i++) {
        const char *found = data[i] ? strchr(plain, data[i]) : NULL;
        char escape[8] = {'\\', 0};
        if (found) {
            escape[1] = letters[found - plain];
            put(out, escape, 2);
        } else if ((unsigned char)data[i] < 0x20) {
            snprintf(escape, sizeof escape, "\\u%04x", (unsigned char)data[i]);
            put(out, escape, 6);
        } else {
            put(out, data + i, 1);
        }
    }
    put(out, "\"", 1);
}

static int by_name(const void *left, const void *right) {
    yyjson_mut_val *const *a = left, *const *b = right;
    return strcmp(json_str(*a), json_str(*b));
}

static void put_value(text *out, yyjson_mut_val *value) {
    size_t index, count;
    yyjson_mut_val *name, *member;
    if (yyjson_mut_is_str(value)) {
        put_string(out, value);
    } else if (yyjson_mut_is_arr(value)) {
        put(out, "[", 1);
        yyjson_mut_arr_foreach(value, index, count, member) {
            put(out, ",", index > 0);
            put_value(out, member);
        }
        put(out, "]", 1);
    } else if (yyjson_mut_is_obj(value)) {
        count = yyjson_mut_obj_size(value);
        yyjson_mut_val **names = calloc(count + 1, sizeof *names);
        if (!names) {
            abort();
        }
        yyjson_mut_obj_foreach(value, index, count, name, member) { names[index] = name; }
        qsort(names, count, sizeof *names, by_name);
        put(out, "{", 1);
        for (index = 0; index < count; index++) {
            put(out, ",", index > 0);
            put_string(out, names[index]);
            put(out, ":", 1);
            put_value(out, yyjson_mut_obj_iter_get_val(names[index]));
        }
        put(out, "}", 1);
        free(names);
    } else {
        char *plain = json_text(value);
        put(out, plain, strlen(plain));
        free(plain);
    }
}

char *json_canonical(yyjson_mut_val *value) {
    text out = {0};
    put_value(&out, value);
    return out.data;
}
