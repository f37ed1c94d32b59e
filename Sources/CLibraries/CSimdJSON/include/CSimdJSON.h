// A C face for simdjson's DOM parser: parse, and look at the tape in place.
#pragma once
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Bytes that must be readable behind a document.
#define DATABUS_JSON_PADDING 64

/// A reusable parser. One thread at a time.
typedef struct databus_json_parser databus_json_parser;

/// The result of the last parse; the pointers are valid until the next parse or growth.
typedef struct {
  const uint64_t *tape;
  const uint8_t *strings;
  /// The source offset of every token, in order.
  const uint32_t *structurals;
  uint32_t structuralCount;
} databus_json_tape;

/// NULL where there is no memory.
databus_json_parser *databus_json_parser_create(size_t maximumDepth);
void databus_json_parser_destroy(databus_json_parser *parser);

/// Parses `length` bytes that are followed by DATABUS_JSON_PADDING readable ones.
/// Returns 0 or simdjson's error code. After an error the tape is not valid; the structurals are where
/// `structuralCount` is not 0.
int32_t databus_json_parse(
    databus_json_parser *parser, const uint8_t *bytes, size_t length, databus_json_tape *result);

/// simdjson's own sentence for an error code.
const char *databus_json_error_message(int32_t code);

#ifdef __cplusplus
}
#endif
