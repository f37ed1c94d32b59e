// The least that a program over librdkafka can do: it reads every record of a topic and writes it to another one.
//
//   kafka-pass-through SERVERS GROUP INPUT OUTPUT COUNT copy|results
//
// COUNT 0: until it is killed. "copy" writes the value as it is, "results" what is as long as a result of ours. Settings are those of
// the router, and a thread asks for a partition's bounds every 2 ms so that fetching does not stall in librdkafka 2.0.
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { batchRecords = 4096, resultBytes = 1 << 20 };

static rd_kafka_t *consumer, *producer;
static const char *input;
static atomic_long acknowledged;
static atomic_int isDone;

static void fail(const char *what, const char *why) {
  fprintf(stderr, "kafka-pass-through: %s: %s\n", what, why);
  exit(1);
}

static void set(rd_kafka_conf_t *configuration, const char *name, const char *value) {
  char text[256];
  if (rd_kafka_conf_set(configuration, name, value, text, sizeof text) != RD_KAFKA_CONF_OK) fail(name, text);
}

static void noteEnd(rd_kafka_t *client, const rd_kafka_message_t *message, void *opaque) {
  (void)client, (void)opaque;
  if (message->err) fail("a record was not taken", rd_kafka_err2str(message->err));
  atomic_fetch_add_explicit(&acknowledged, 1, memory_order_relaxed);
}

static void *serve(void *argument) {
  (void)argument;
  while (!isDone) rd_kafka_poll(producer, 100);
  return 0;
}

static void *wake(void *argument) {
  (void)argument;
  while (!isDone) {
    int64_t low, high;
    rd_kafka_query_watermark_offsets(consumer, input, 0, &low, &high, 1000);
    usleep(2000);
  }
  return 0;
}

int main(int count, char **arguments) {
  if (count != 7) fail("usage", "SERVERS GROUP INPUT OUTPUT COUNT copy|results");
  input = arguments[3];
  const long wanted = atol(arguments[5]);
  const int asResult = strcmp(arguments[6], "results") == 0;
  char text[256];

  rd_kafka_conf_t *configuration = rd_kafka_conf_new();
  set(configuration, "bootstrap.servers", arguments[1]);
  set(configuration, "group.id", arguments[2]);
  set(configuration, "auto.offset.reset", "earliest");
  set(configuration, "enable.auto.commit", "false");
  set(configuration, "enable.auto.offset.store", "false");
  set(configuration, "queued.min.messages", "20000");
  set(configuration, "queued.max.messages.kbytes", "8192");
  consumer = rd_kafka_new(RD_KAFKA_CONSUMER, configuration, text, sizeof text);
  if (!consumer) fail("consumer", text);
  rd_kafka_poll_set_consumer(consumer);

  configuration = rd_kafka_conf_new();
  set(configuration, "bootstrap.servers", arguments[1]);
  set(configuration, "enable.idempotence", "true");
  set(configuration, "linger.ms", "0");
  set(configuration, "max.in.flight.requests.per.connection", "1");
  set(configuration, "partitioner", "murmur2_random");
  set(configuration, "queue.buffering.max.kbytes", "65536");
  rd_kafka_conf_set_dr_msg_cb(configuration, noteEnd);
  producer = rd_kafka_new(RD_KAFKA_PRODUCER, configuration, text, sizeof text);
  if (!producer) fail("producer", text);
  rd_kafka_topic_t *output = rd_kafka_topic_new(producer, arguments[4], 0);

  rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
  rd_kafka_topic_partition_list_add(topics, input, RD_KAFKA_PARTITION_UA);
  if (rd_kafka_subscribe(consumer, topics)) fail("subscribe", "refused");

  pthread_t server, waker;
  pthread_create(&server, 0, serve, 0);
  pthread_create(&waker, 0, wake, 0);
  rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(consumer);
  rd_kafka_message_t *messages[batchRecords];
  char *result = malloc(resultBytes);
  static const char head[] = "{\"destination\":\"https://foo.bar/baz\",\"payload\":";
  static const char tail[] =
      ",\"id\":\"9f86d081884c7d659a2feaa0c55ad015\",\"rule\":\"rule_a\",\"event\":\"events/0/1234567\","
      "\"timestamp\":1795357798798}";
  long passed = 0;
  while (!wanted || passed < wanted) {
    ssize_t taken = rd_kafka_consume_batch_queue(queue, 1, messages, batchRecords);
    for (ssize_t place = 0; place < taken; place++) {
      rd_kafka_message_t *message = messages[place];
      if (!message->err) {
        const char *value = message->payload;
        size_t length = message->len;
        if (asResult && length + sizeof head + sizeof tail < resultBytes) {
          memcpy(result, head, sizeof head - 1);
          memcpy(result + sizeof head - 1, value, length);
          memcpy(result + sizeof head - 1 + length, tail, sizeof tail - 1);
          length += sizeof head + sizeof tail - 2;
          value = result;
        }
        while (rd_kafka_produce(
                   output, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, (void *)value, length, message->key,
                   message->key_len, 0) < 0) {
          if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            fail("produce", rd_kafka_err2str(rd_kafka_last_error()));
          usleep(500);
        }
        passed++;
      }
      rd_kafka_message_destroy(message);
    }
  }
  while (atomic_load(&acknowledged) < passed) usleep(1000);
  // What is left is for the system to take down.
  printf("%ld\n", passed);
  fflush(stdout);
  _exit(0);
}
