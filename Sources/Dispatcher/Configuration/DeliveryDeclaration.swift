import DatabusCore

extension DispatcherDeclaration {
  /// What no secret can be named, because it says that there is none.
  static let noSecret = "none"

  static let delivery = ObjectDeclaration(
    "How deliveries are made. What an entry of `destinations` or a rule's `delivery` says counts before it.",
    [
      FieldDeclaration(
        "mode",
        .enumeration([
          EnumerationCase("at-least-once", "An attempt whose end is not known is made again, with the same id."),
          EnumerationCase("at-most-once", "Such a delivery becomes a dead letter, for people to decide."),
        ]), default: "at-least-once", "What is promised of each delivery."),
      FieldDeclaration(
        "slots", .integer(4...100_000), default: 1024,
        "Attempts at a time, to all destinations together; no destination gets more than a quarter of them."),
      FieldDeclaration(
        "queue", .integer(1...1_000_000), default: 1000,
        "Deliveries that wait in memory for one destination, or as many as it takes in 30 s (`inMemory`) where those are more; further ones go to a retry stream."
      ),
      FieldDeclaration(
        "payloadBytes", .size(1...(1 << 30)), default: "256KiB", "The largest payload; a larger one is a dead letter."),
    ] + settings(areDefaults: true))

  static let destination = ObjectDeclaration(
    "What is different for some destinations. What does not stand here is as `delivery` says.",
    [
      FieldDeclaration(
        "match",
        .string(
          StringRule(
            length: 1...2048,
            form: "a URL, or the beginning of one and a `*` behind its host: `https://hooks.example.com/*`",
            check: { text in
              switch DestinationMatch.parse(text) {
              case .success: nil
              case .failure(let problem): problem.reason
              }
            })), required: true, example: "https://hooks.example.com/*", "The destinations that are meant.")
    ] + settings(areDefaults: false))

  /// The settings that all destinations have, and that single ones may have otherwise.
  private static func settings(areDefaults: Bool) -> [FieldDeclaration] {
    func field(
      _ name: String, _ kind: ValueKind, default value: JSONValue, example: JSONValue? = nil, _ summary: String
    ) -> FieldDeclaration {
      areDefaults
        ? FieldDeclaration(name, kind, default: value, example: example, summary)
        : FieldDeclaration(name, kind, defaultMeaning: "that of `delivery`", example: example, summary)
    }
    return [
      field(
        "timeout", .duration(.milliseconds(100)...(.seconds(60))), default: "15s",
        "The time from the beginning of an attempt to the last byte of the answer."),
      field("concurrency", .integer(1...1024), default: 16, "Attempts at a time to one destination."),
      FieldDeclaration(
        "rate", .number(0.001...1_000_000), defaultMeaning: areDefaults ? "no limit" : "that of `delivery`",
        example: 50,
        "The most attempts a second to one destination; 0.1 is one in ten seconds."),
      field(
        "format",
        .enumeration([
          EnumerationCase("payload", "The payload's bytes."),
          EnumerationCase("cloudevents-binary", "CloudEvents 1.0: attributes as headers, `data` as the body."),
          EnumerationCase("cloudevents-structured", "CloudEvents 1.0: the whole event as JSON."),
        ]), default: "payload", "What is sent of an event."),
      FieldDeclaration(
        "headers",
        .map(
          of: .string(),
          MapRule(
            count: 0...64, nameMeaning: "a header's name",
            check: { name, value in
              DeliveryHeader.problem(in: [DeliveryHeader(name, value)]).map { ($0, "remove it, or choose another") }
            })), default: [:], example: ["x-shop": "north"],
        secret: true,
        areDefaults
          ? "Headers that are sent as they are."
          : "Headers besides those of `delivery`; of two with one name, this one counts."
      ),
      field(
        "secret", .string(.notEmpty), default: JSONValue(stringLiteral: noSecret), example: "shop-signing",
        "The name of the secret that signs (Standard Webhooks), or `none`."),
      field("auth", .union(authentication), default: ["type": "none"], "How the dispatcher says who it is."),
    ]
  }

  private static let authentication = UnionDeclaration(
    noun: "authentication",
    [
      .init("none", ObjectDeclaration("Nothing is said.", [])),
      .init(
        "basic",
        ObjectDeclaration(
          "A user's name and password (RFC 7617).",
          [
            FieldDeclaration(
              "username",
              .string(
                StringRule(
                  length: 1...1024, form: "a name without `:` and control characters",
                  check: { text in
                    if text.utf8.contains(UInt8(ascii: ":")) { return "contains a \":\"" }
                    return text.utf8.contains { $0 < 0x20 || $0 == 0x7F } ? "contains a control character" : nil
                  })), required: true, example: "databus", "The user's name."),
            FieldDeclaration(
              "secret", .string(.notEmpty), required: true, example: "shop-password",
              "The name of the secret that is the password."),
          ])),
      .init(
        "bearer",
        ObjectDeclaration(
          "A token (RFC 6750).",
          [
            FieldDeclaration(
              "secret", .string(.notEmpty), required: true, example: "shop-token",
              "The name of the secret that is the token.")
          ])),
    ])
}
