// librdkafka's API for Swift: the header, and what variable arguments and macros hide from the importer.
#pragma once
#include <librdkafka/rdkafka.h>

/// RD_KAFKA_OFFSET_BEGINNING and the like are macros.
static const int64_t databus_rd_kafka_offset_beginning = RD_KAFKA_OFFSET_BEGINNING;
static const int64_t databus_rd_kafka_offset_end = RD_KAFKA_OFFSET_END;
static const int64_t databus_rd_kafka_offset_invalid = RD_KAFKA_OFFSET_INVALID;

/// rd_kafka_producev: a record with headers, which librdkafka owns once it has taken the record. The payload is copied.
static inline rd_kafka_resp_err_t databus_rd_kafka_produce_headers(
    rd_kafka_t *client, rd_kafka_topic_t *topic, int32_t partition, const void *value, size_t valueCount,
    const void *key, size_t keyCount, rd_kafka_headers_t *headers, void *opaque) {
  return rd_kafka_producev(
      client, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_PARTITION(partition), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
      RD_KAFKA_V_VALUE((void *)value, valueCount), RD_KAFKA_V_KEY(key, keyCount), RD_KAFKA_V_HEADERS(headers),
      RD_KAFKA_V_OPAQUE(opaque), RD_KAFKA_V_END);
}

/// A record without headers; the payload is copied.
static inline int databus_rd_kafka_produce(
    rd_kafka_topic_t *topic, int32_t partition, const void *value, size_t valueCount, const void *key,
    size_t keyCount, void *opaque) {
  return rd_kafka_produce(
      topic, partition, RD_KAFKA_MSG_F_COPY, (void *)value, valueCount, key, keyCount, opaque);
}
