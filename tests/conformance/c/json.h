/* What the conformance suite does with JSON values: made arguments, matching, canonical text. */

#ifndef SUITE_JSON_H
#define SUITE_JSON_H

#include "yyjson.h"

#include <stdbool.h>
#include <stddef.h>

/* NULL when the text is not JSON. The value belongs to `doc`. */
yyjson_mut_val *json_parse(yyjson_mut_doc *doc, const char *text, size_t len);
yyjson_mut_val *json_read(yyjson_mut_doc *doc, const char *path);
/* Compact text, from malloc. */
char *json_text(yyjson_mut_val *value);
/* The same with members sorted by name, as SPEC.md says. */
char *json_canonical(yyjson_mut_val *value);
/* A string, or "". */
const char *json_str(yyjson_mut_val *value);
/* The part at a path such as `results.0.id`; the whole at "". */
yyjson_mut_val *json_at(yyjson_mut_val *value, const char *path);
/* Arguments with saved and repeated values in their places; an empty object for NULL. */
yyjson_mut_val *json_make(yyjson_mut_doc *doc, yyjson_mut_val *args, yyjson_mut_val *saved);
/* Whether what came matches; `got` may be NULL. If not, `why` says where, beginning with a path. */
bool json_matches(yyjson_mut_val *expected, yyjson_mut_val *got, yyjson_mut_val *saved, char *why,
                  size_t len);
/* What is compared of results, events and errors of programs. */
yyjson_mut_val *json_keep(yyjson_mut_doc *doc, yyjson_mut_val *value, yyjson_mut_val *names);
yyjson_mut_val *json_comparable(yyjson_mut_doc *doc, yyjson_mut_val *value);
yyjson_mut_val *json_comparable_error(yyjson_mut_doc *doc, yyjson_mut_val *error);

#endif
