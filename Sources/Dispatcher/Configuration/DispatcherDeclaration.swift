import DatabusCore

/// The declaration of the section `dispatcher`.
enum DispatcherDeclaration {
  static func section(_ registry: DispatcherRegistry) -> ObjectDeclaration {
    ObjectDeclaration(
      "The dispatcher: it reads results, sends each to its destination, and remembers what has arrived.",
      [
        FieldDeclaration(
          "streams", .array(of: .string(.notEmpty), count: 1...1000),
          defaultMeaning: "all of `pipeline.results.streams` that a channel delivers", example: ["results-http"],
          "The results streams that are read, on the results' transport."),
        FieldDeclaration(
          "deduplication", .union(deduplication(registry)), required: true,
          example: ["type": "sqlite", "path": "databus-deduplication.db"],
          "Where it is remembered what became of each delivery, so that one that comes twice is sent once."),
        FieldDeclaration("delivery", .object(delivery), default: [:], "How deliveries are made."),
        FieldDeclaration(
          "destinations", .array(of: .object(destination), count: 0...10_000), default: [],
          example: [["match": "https://hooks.example.com/*", "concurrency": 4, "rate": 50]],
          "What is different for some destinations: the first entry that matches counts."),
        FieldDeclaration("retry", .object(retry), default: [:], "When a delivery that failed is tried again."),
        FieldDeclaration("breaker", .object(breaker), default: [:], "When a destination that is ill is left alone."),
        FieldDeclaration(
          "secrets", .map(of: .object(secret), MapRule(count: 0...10_000, nameMeaning: "the name of a secret")),
          default: [:],
          example: ["shop-signing": ["value": "${SHOP_SIGNING_SECRET}", "urls": ["https://hooks.example.com/"]]],
          "Keys, passwords and tokens by names that `delivery`, `destinations` and rules refer to."),
        FieldDeclaration("channels", .object(channels(registry)), default: [:], "What delivers, by the kind of URL."),
        FieldDeclaration(
          "deadLetters", .object(deadLetters), default: [:], "Where deliveries go that are given up, with the reason."),
        FieldDeclaration(
          "attempts", .object(attempts), defaultMeaning: "no log", example: ["path": "databus-attempts.db"],
          "The log of attempts, which `databus deliveries` reads."),
        FieldDeclaration(
          "rules", .boolean, default: false,
          "Read the rules stream too: deliveries whose rule was deleted or disabled become dead letters (`rule_gone`)."),
        FieldDeclaration(
          "drain", .duration(.zero...(.seconds(3600))), default: "20s",
          "How long attempts may go on after a signal to stop; what has not ended by then is made again at the next start."
        ),
      ])
  }

  // MARK: Deduplication

  /// What every store has besides its own settings.
  static let deduplicationFields = [
    FieldDeclaration(
      "ttl", .duration(.seconds(60)...(.seconds(366 * 86_400))), default: "24h",
      "How long a delivery's end is remembered: one that comes again later is sent again."),
    FieldDeclaration(
      "onUnavailable",
      .enumeration([
        EnumerationCase("wait", "Nothing is sent; results wait in their stream."),
        EnumerationCase(
          "send", "What this process does not remember itself is sent: repeats are possible."),
      ]), default: "wait", "What is done while the store is away."),
  ]

  private static func deduplication(_ registry: DispatcherRegistry) -> UnionDeclaration {
    UnionDeclaration(
      noun: "deduplication store",
      registry.stores.map { type in
        var object = type.settings
        object.fields += deduplicationFields
        return .init(type.name, object)
      })
  }

  // MARK: Channels

  private static func channels(_ registry: DispatcherRegistry) -> ObjectDeclaration {
    ObjectDeclaration(
      "The settings of the channels that this program has.",
      registry.channels.map { type in
        let schemes = type.schemes.map { "`\($0)`" }.joined(separator: ", ")
        let summary = "What delivers to URLs with the scheme \(schemes)."
        return type.isAlwaysThere
          ? FieldDeclaration(type.name, .object(type.settings), default: [:], summary)
          : FieldDeclaration(type.name, .object(type.settings), defaultMeaning: "not there", summary)
      })
  }

  // MARK: Retries

  private static let retry = ObjectDeclaration(
    "When a delivery that failed is tried again: after a random part of `base`, doubled with each attempt up to `cap`.",
    [
      FieldDeclaration(
        "attempts", .integer(1...1000), default: 12, "Attempts of a delivery; after the last it is a dead letter."),
      FieldDeclaration(
        "age", .duration(.seconds(1)...(.seconds(366 * 86_400))), default: "72h",
        "The age at which a delivery is given up, counted from its first attempt."),
      FieldDeclaration(
        "base", .duration(.milliseconds(1)...(.seconds(3600))), default: "1s",
        "The longest wait before the second attempt."),
      FieldDeclaration(
        "cap", .duration(.milliseconds(1)...(.seconds(30 * 86_400))), default: "6h",
        "The longest wait between two attempts."),
      FieldDeclaration(
        "retryAfterCap", .duration(.seconds(1)...(.seconds(30 * 86_400))), default: "24h",
        "The longest wait that a receiver may ask for (`Retry-After`)."),
      FieldDeclaration(
        "inMemory", .duration(.zero...(.seconds(3600))), default: "30s",
        "Waits up to this pass in memory, where the result's position waits too; longer ones in a retry stream."),
      FieldDeclaration(
        "tiers", .array(of: .duration(.seconds(1)...(.seconds(30 * 86_400))), count: 1...16),
        default: ["1m", "10m", "1h", "6h"],
        "The waits of the retry streams `<results stream>-retry-<wait>`, each longer than the one before. A wait is removed from here once its stream is empty: nothing would read it any more."
      ),
    ])

  private static let breaker = ObjectDeclaration(
    "The circuit breaker of each destination, which counts connection errors, timeouts and answers from 500 on.",
    [
      FieldDeclaration("failures", .integer(1...1_000_000), default: 10, "So many failures in a row open it."),
      FieldDeclaration(
        "share", .integer(1...100), default: 50, "So many percent of the attempts within `window` open it too."),
      FieldDeclaration(
        "window", .duration(.seconds(1)...(.seconds(3600))), default: "60s", "The time that `share` looks back."),
      FieldDeclaration(
        "minimum", .integer(1...1_000_000), default: 20,
        "The attempts within `window` below which `share` says nothing."),
      FieldDeclaration(
        "open", .duration(.milliseconds(100)...(.seconds(86_400))), default: "30s",
        "How long it stays open before one attempt is made; doubled each time that this fails."),
      FieldDeclaration(
        "maximumOpen", .duration(.milliseconds(100)...(.seconds(7 * 86_400))), default: "10m",
        "The longest that it stays open."),
      FieldDeclaration("successes", .integer(1...1000), default: 3, "So many successes in a row close it again."),
    ])

  // MARK: Where things go

  private static let secret = ObjectDeclaration(
    "One secret. It is sent to no other URL than those listed: whoever may write rules must not be able to send it to a host of his own.",
    [
      FieldDeclaration(
        "value", .string(StringRule(length: 1...8192)), defaultMeaning: "the first of `values`",
        example: "${file:/run/secrets/shop-signing}", secret: true,
        "The secret; for signatures as Standard Webhooks writes keys: `whsec_` and base64."),
      FieldDeclaration(
        "values", .array(of: .string(StringRule(length: 1...8192)), count: 1...10), example: ["${NEW}", "${OLD}"],
        secret: true,
        "In the place of `value` while it is replaced: the current one first, then those that receivers still accept. Signatures are made with all of them."
      ),
      FieldDeclaration(
        "urls",
        .array(
          of: .string(
            StringRule(
              length: 1...2048,
              form: "a URL, without query: `https://example.com/hooks/`",
              check: { text in
                switch DestinationMatch.secretURL(text) {
                case .success: nil
                case .failure(let problem): problem.reason
                }
              })), count: 1...1000), required: true, example: ["https://hooks.example.com/"],
        "The URLs that it may be sent to: each stands for itself and for all that is below it."),
    ])

  private static let deadLetters = ObjectDeclaration(
    "Where deliveries go that are given up, with the reason; `databus dlq` lists and replays them.",
    [
      FieldDeclaration(
        "transport", .string(.notEmpty), defaultMeaning: "the results' transport", example: "local",
        "The transport that dead letters are written to."),
      FieldDeclaration(
        "stream", .string(ConfigurationDeclaration.streamName), defaultMeaning: "`<pipeline>-dispatcher-dead-letters`",
        example: "quickstart-dispatcher-dead-letters", "The stream that dead letters are written to."),
    ])

  private static let attempts = ObjectDeclaration(
    "The log of attempts: a SQLite file that keeps the latest, for `databus deliveries`.",
    [
      FieldDeclaration("path", .path, required: true, example: "databus-attempts.db", "The file; made at first use."),
      FieldDeclaration(
        "age", .duration(.seconds(60)...(.seconds(366 * 86_400))), default: "7d",
        "Attempts older than this are removed."),
      FieldDeclaration(
        "records", .integer(1...1_000_000_000), default: 1_000_000, "The oldest attempts are removed above this number."
      ),
    ])
}
