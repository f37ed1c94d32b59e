#include "CSimdJSON.h"

#include <new>
#include <simdjson.h>

struct databus_json_parser {
  simdjson::dom::parser parser;
  size_t maximumDepth;
};

databus_json_parser *databus_json_parser_create(size_t maximumDepth) {
  auto *created = new (std::nothrow) databus_json_parser();
  if (created != nullptr) { created->maximumDepth = maximumDepth; }
  return created;
}

void databus_json_parser_destroy(databus_json_parser *parser) { delete parser; }

int32_t databus_json_parse(
    databus_json_parser *parser, const uint8_t *bytes, size_t length, databus_json_tape *result) {
  auto &dom = parser->parser;
  if (length > dom.capacity() || dom.max_depth() != parser->maximumDepth) {
    size_t capacity = dom.capacity() < 4096 ? 4096 : dom.capacity();
    while (capacity < length) { capacity *= 2; }
    auto error = dom.allocate(capacity, parser->maximumDepth);
    if (error) {
      result->structuralCount = 0;
      return int32_t(error);
    }
  }
  dom.implementation->n_structural_indexes = 0;
  auto error = dom.parse(bytes, length, false).error();
  result->tape = dom.doc.tape.get();
  result->strings = dom.doc.string_buf.get();
  result->structurals = dom.implementation->structural_indexes.get();
  result->structuralCount = dom.implementation->n_structural_indexes;
  return int32_t(error);
}

const char *databus_json_error_message(int32_t code) {
  return simdjson::error_message(simdjson::error_code(code));
}
