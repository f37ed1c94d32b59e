/// What a rule can say: the names, bounds and checks that `RuleDecoder` goes by, and what the JSON Schema of a rule is made from.
public enum RuleDeclaration {
  static let id = StringRule(
    length: 1...256, form: "a string of 1 to 256 bytes", pattern: "^[^\\u0000-\\u001F\\u007F-\\u009F]+$",
    check: { text in
      text.unicodeScalars.contains { $0.value < 0x20 || ($0.value >= 0x7F && $0.value < 0xA0) }
        ? "contains a control character" : nil
    })

  static let eventType = StringRule(
    form: "an event type, exact or ending in \"*\"", pattern: "^[^*]*\\*?$",
    check: { text in
      text.utf8.dropLast().contains(UInt8(ascii: "*"))
        ? "has a \"*\" before its end; only a prefix can be matched" : nil
    })

  static let destination = StringRule(
    length: 1...Int.max, form: "an absolute URL with a host, such as \"https://example.com/hook\"",
    pattern: "^[A-Za-z][A-Za-z0-9+.-]*://[^/?#@]+([/?#].*)?$",
    check: { text in
      if case .failure(let problem) = DestinationURL.parse(text) { return problem.reason }
      return nil
    })

  /// `delivery` as it stands in the rule, at most, in bytes.
  static let maximumDeliveryBytes = 4096

  /// A rule as it stands on the rules stream.
  public static let object = ObjectDeclaration(
    "A routing rule: which events go to which destination.", acceptsUnknown: true,
    [
      FieldDeclaration(
        "ruleId", .string(id), required: true, example: "orders",
        "The rule's name. A rule of the same name that comes later replaces it."),
      FieldDeclaration(
        "events", .array(of: .string(eventType)), required: true, example: ["order:created", "refund:*"],
        "Event types: exact, a prefix that ends in `*`, or `*` for all."),
      FieldDeclaration(
        "destinationUrl", .string(destination), required: true, example: "https://example.com/orders",
        "Where results go. The URL's scheme chooses the results stream."),
      FieldDeclaration(
        "enabled", .boolean, default: true, acceptsNull: true, "`false` keeps the rule and routes nothing by it."),
      FieldDeclaration(
        "delivery", .object(ObjectDeclaration(acceptsUnknown: true, [])), acceptsNull: true,
        "For whoever delivers the results: copied into each. At most 4 KiB."),
      FieldDeclaration(
        "deleted", .boolean, default: false, acceptsNull: true,
        "`true` deletes the rule; only `ruleId` is needed beside it."),
      FieldDeclaration("filters", .json, isBuilt: false, "Tests on an event's content."),
      FieldDeclaration("transforms", .json, isBuilt: false, "What makes another payload of an event."),
      FieldDeclaration("enrich", .json, isBuilt: false, "Reference data that is looked up."),
      FieldDeclaration("aggregate", .json, isBuilt: false, "Several events in one result."),
    ])
}
