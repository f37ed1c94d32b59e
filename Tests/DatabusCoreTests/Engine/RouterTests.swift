import Testing

@testable import DatabusCore

/// The pure router: records and a table in, bytes and refusals out.
@Suite struct RouterTests {
  struct Input {
    var value: [UInt8]?
    var key: [UInt8]?
    var timestamp: Int64 = 1_795_357_798_798
    init(_ text: String, key: String? = nil, timestamp: Int64 = 1_795_357_798_798) {
      value = Array(text.utf8)
      self.key = key.map { Array($0.utf8) }
      self.timestamp = timestamp
    }
    init(bytes: [UInt8]?) { value = bytes }
  }

  struct Routed {
    var values: [String] = []
    var keys: [String?] = []
    var headers: [[Header]] = []
    var tokens: [Token] = []
    var refusals: [RoutedBatch.Refusal] = []
    var outstanding: [UInt16] = []
    var filtered = 0
    var declined = 0
  }

  static func rule(_ id: String = "rule_a", _ events: [String] = ["*"]) -> Rule {
    Rule(id: id, events: events, destination: "https://foo.bar/baz", scheme: "https")
  }

  private func route(
    _ inputs: [Input], _ rules: [Rule] = [rule()], limits: Limits = Limits(), headers: Bool = false,
    cloudEvents: Bool = true, partition: PartitionID = PartitionID(stream: "events", incarnation: "5f9c", index: 3)
  ) throws -> Routed {
    var builder = RuleTableBuilder()
    for rule in rules { builder.upsert(rule, sink: 0) }
    var records = RecordBatchBuilder()
    for (index, input) in inputs.enumerated() {
      records.append(key: input.key, value: input.value, timestamp: input.timestamp, position: UInt64(100 + index))
    }
    let batch = RoutedBatch(outputs: 1)
    batch.hold(records.finish(Assignment(partition: partition, generation: 1)))
    batch.table = builder.makeTable(vector: RulesVector())
    var router = try Router(
      .init(limits: limits, usesCloudEventsIdentity: cloudEvents, writesHeaders: headers))
    router.route(batch)
    var routed = Routed()
    for index in 0..<batch.outputs.pointee.count {
      let raw = batch.outputs.pointee.raw(at: index)
      let contents = batch.outputs.pointee.contents
      routed.values.append(
        String(decoding: contents[raw.valueOffset..<raw.valueOffset + raw.valueCount], as: UTF8.self))
      routed.keys.append(
        raw.keyOffset < 0
          ? nil : String(decoding: contents[raw.keyOffset..<raw.keyOffset + raw.keyCount], as: UTF8.self))
      routed.headers.append(batch.outputs.pointee.headers(at: index))
      routed.tokens.append(Token(raw.token))
    }
    routed.refusals = batch.refusals
    routed.outstanding = (0..<batch.count).map { batch.outstanding[$0] }
    routed.filtered = batch.filtered
    routed.declined = batch.declined
    return routed
  }

  // MARK: Bad input

  @Test(arguments: [
    (
      "nope", DeadLetterReason.notJSON,
      "not valid JSON at 1:1: a value is expected; only true, false and null are words"
    ),
    (#"{"type":"a""#, .notJSON, "not valid JSON at 1:12: the text ends, and the bracket opened at 1:1 is not closed"),
    ("[1]", .notObject, "an event is a JSON object"), ("\"a\"", .notObject, "an event is a JSON object"),
    ("{}", .typeMissing, "the event has no member \"type\""),
    (#"{"Type":"a","data":{"type":"a"}}"#, .typeMissing, "the event has no member \"type\""),
    (#"{"type":1}"#, .typeNotString, "the event's \"type\" is not a string"),
    (#"{"type":null}"#, .typeNotString, "the event's \"type\" is not a string"),
    (#"{"type":{"a":1}}"#, .typeNotString, "the event's \"type\" is not a string"),
    (#"{"type":"a","type":"a"}"#, .memberRepeated, "the event's \"type\" stands twice"),
    (#"{"type":"a","ty\u0070e":"b"}"#, .memberRepeated, "the event's \"type\" stands twice"),
    (
      #"{"type":"a","specversion":"1.0","id":"1","source":"s","id":"2"}"#, .memberRepeated,
      "the event's \"id\" stands twice"
    ),
    (
      #"{"type":"a","source":"1","source":"s","specversion":"1.0"}"#, .memberRepeated,
      "the event's \"source\" stands twice"
    ),
    (
      #"{"type":"a","specversion":"1.0","specversion":"1.0"}"#, .memberRepeated,
      "the event's \"specversion\" stands twice"
    ),
    ("", .emptyValue, "the value is empty"),
    (
      "\u{0}\u{0}\u{0}\u{0}\u{7}{\"type\":\"a\"}", .notJSON,
      "not valid JSON: the value starts with a zero byte, as in Confluent's wire format; use a converter that writes plain JSON"
    ),
    (
      "{\"type\":\"a\u{0}\"}", .notJSON,
      "not valid JSON at 1:11: a string contains the control character the byte 0x00; write it as an escape"
    ),
    (#"{"type":"\ud800"}"#, .notJSON, "not valid JSON at 1:10: a high surrogate stands alone"),
  ]) func aBadEventIsOneDeadLetterWithItsReason(_ text: String, _ reason: DeadLetterReason, _ detail: String) throws {
    let good = Input(#"{"type":"a"}"#)
    let routed = try route([good, Input(text), good])
    #expect(routed.refusals.map(\.reason) == [reason])
    #expect(routed.refusals.first?.detail == detail)
    #expect(routed.refusals.first?.index == 1)
    #expect(routed.refusals.first?.ordinal == Token.deadLetter)
    #expect(routed.outstanding == [1, 1, 1])
    #expect(routed.values.count == 2)
  }

  @Test func eventsBeyondALimitAreDeadLetters() throws {
    func reason(_ input: Input, _ limits: Limits = Limits()) throws -> [DeadLetterReason] {
      try route([input], limits: limits).refusals.map(\.reason)
    }
    let deep = #"{"type":"a","d":\#(String(repeating: "[", count: 127))1\#(String(repeating: "]", count: 127))}"#
    #expect(try reason(Input(deep)).isEmpty)
    #expect(try reason(Input(deep.replacing("[1]", with: "[[1]]"))) == [.tooDeep])
    #expect(try reason(Input(bytes: Array("{\"type\":\"".utf8) + [0xFF] + Array("\"}".utf8))) == [.notUTF8])
    let large = #"{"type":"a","x":"\#(String(repeating: "x", count: 10 << 20))"}"#
    #expect(try reason(Input(large)) == [.tooLarge])
    let text = #"{"type":"a"}"#
    #expect(try reason(Input(text), Limits(eventBytes: text.utf8.count)).isEmpty)
    #expect(try reason(Input(text), Limits(eventBytes: text.utf8.count - 1)) == [.tooLarge])
  }

  @Test func aTombstoneAndAnEventThatNoRuleWantsAreFiltered() throws {
    let routed = try route([Input(bytes: nil), Input(#"{"type":"b"}"#)], [RouterTests.rule("r", ["a"])])
    #expect(routed.filtered == 2 && routed.declined == 0)
    #expect(routed.outstanding == [0, 0])
    #expect(routed.values.isEmpty && routed.refusals.isEmpty)
  }

  @Test(arguments: [
    #"{"type":"a","n":123456789012345678901234567890}"#, #"{"type":"a","n":1e400}"#, #"{"type":"a\u0000b"}"#,
    #"{"type":"a","x":1,"x":2}"#, "{\n \"type\" : \"a\",\r\n \"b\": [ ]\n}", #"{"type":""}"#,
    #"{"type":"a","id":1,"id":2}"#,
  ]) func aValidOddityIsRoutedAsItCame(_ text: String) throws {
    for (before, behind) in [("", ""), (" \n", "\n "), ("\u{FEFF}", "")] {
      let routed = try route([Input(before + text + behind)])
      #expect(routed.refusals.isEmpty)
      #expect(
        routed.values.first?.hasPrefix(#"{"destination":"https://foo.bar/baz","payload":\#(text),"id":""#) == true)
    }
  }

  // MARK: The result

  @Test func aResultIsTheDocumentedBytes() throws {
    let id = EventIdentity.position(incarnation: "5f9c", partition: 3, position: 100, timestamp: 1_795_357_798_798)
      .deliveryID(ruleID: "rule_a")
    let routed = try route([Input(#" {"type":"a"} "#, key: "k")])
    #expect(
      routed.values == [
        #"{"destination":"https://foo.bar/baz","payload":{"type":"a"},"id":"\#(id)","rule":"rule_a","event":"events/3/100","timestamp":1795357798798}"#
      ])
    #expect(routed.keys == ["k"])
    #expect(routed.headers == [[]])
  }

  @Test func namesAreEscapedDeliveryIsCarriedAndAMissingTimestampIsLeftOut() throws {
    var rule = RouterTests.rule("r\"\\é")
    rule.destination = "https://x.y/é"
    rule.delivery = Array(#"{"retries": 3}"#.utf8)
    let partition = PartitionID(stream: "a\"b", incarnation: "i", index: 0)
    let id = EventIdentity.position(incarnation: "i", partition: 0, position: 100, timestamp: nil)
      .deliveryID(ruleID: rule.id)
    let routed = try route([Input(#"{"type":"a"}"#, timestamp: RawRecord.noTimestamp)], [rule], partition: partition)
    #expect(
      routed.values == [
        #"{"destination":"https://x.y/é","payload":{"type":"a"},"id":"\#(id)","rule":"r\"\\é","event":"a\"b/0/100","delivery":{"retries": 3}}"#
      ])
    #expect(routed.keys == [nil])
  }

  @Test func headersCarryTheMetadataWhereAskedFor() throws {
    let routed = try route([Input(#"{"type":"a"}"#)], headers: true)
    let headers = Dictionary(
      uniqueKeysWithValues: try #require(routed.headers.first).map {
        ($0.name, String(decoding: $0.value ?? [], as: UTF8.self))
      })
    let parsed = try JSONDocument.value(of: Array(try #require(routed.values.first).utf8))
    #expect(headers == ["databus-id": parsed["id"]?.string, "databus-rule": "rule_a", "databus-event": "events/3/100"])
  }

  @Test(arguments: [
    (#"{"specversion":"1.0","type":"a","source":"s","id":"1"}"#, true),
    (#"{"specversion":"1.1","type":"a","source":"s","id":"1"}"#, true),
    (#"{"type":"a","source":"s","id":"1"}"#, false),
    (#"{"specversion":"0.3","type":"a","source":"s","id":"1"}"#, false),
    (#"{"specversion":"1","type":"a","source":"s","id":"1"}"#, false),
    (#"{"specversion":1.0,"type":"a","source":"s","id":"1"}"#, false),
    (#"{"specversion":"1.0","type":"a","source":"","id":"1"}"#, false),
    (#"{"specversion":"1.0","type":"a","source":"s","id":""}"#, false),
    (#"{"specversion":"1.0","type":"a","source":"s","id":1}"#, false),
    (#"{"specversion":"1.0","type":"a","id":"1"}"#, false),
  ]) func onlyACompleteCloudEventIsIdentifiedByItself(_ text: String, _ isCloudEvent: Bool) throws {
    func id(_ routed: Routed) throws -> String? {
      try JSONDocument.value(of: Array(try #require(routed.values.first).utf8))["id"]?.string
    }
    let cloudEvent = EventIdentity.cloudEvent(source: Array("s".utf8), id: Array("1".utf8)).deliveryID(ruleID: "rule_a")
    let position = EventIdentity.position(
      incarnation: "5f9c", partition: 3, position: 100, timestamp: 1_795_357_798_798
    ).deliveryID(ruleID: "rule_a")
    #expect(try id(route([Input(text)])) == (isCloudEvent ? cloudEvent : position).description)
    #expect(try id(route([Input(text)], cloudEvents: false)) == position.description)
  }

  // MARK: Tests and transforms of rules

  private struct Fake: RuleEvaluator, RuleTransformer {
    var outcome = Evaluation.pass
    var bytes = #"{"made":true}"#
    var error: TransformError?
    func evaluate(_ document: borrowing JSONDocument) -> Evaluation { outcome }
    func transform(_ document: borrowing JSONDocument, into buffer: inout ByteBuffer) throws(TransformError) {
      buffer.append(bytes)
      if let error { throw error }
    }
  }

  @Test func eachRuleIsAskedAndEachAnswerIsCountedOnce() throws {
    func rule(_ id: String, _ evaluator: Fake?, _ transformer: Fake? = nil) -> Rule {
      var rule = RouterTests.rule(id)
      rule.evaluator = evaluator
      rule.transformer = transformer
      return rule
    }
    let routed = try route(
      [Input(#"{"type":"a"}"#)],
      [
        rule("a", Fake(outcome: .fail)), rule("b", Fake(outcome: .failed("no number"))), rule("c", nil),
        rule("d", Fake(), Fake()), rule("e", nil, Fake(error: TransformError("no such path"))), rule("f", Fake()),
      ])
    #expect(routed.outstanding == [5])
    #expect(routed.declined == 0 && routed.filtered == 0)
    let parsed = try routed.values.map { try JSONDocument.value(of: Array($0.utf8)) }
    #expect(parsed.map { $0["rule"]?.string } == ["c", "d", "f"])
    #expect(parsed[1]["payload"]?["made"]?.bool == true)
    #expect(parsed[2]["payload"]?["type"]?.string == "a")
    #expect(routed.refusals.map(\.reason) == [.evaluationFailed, .transformFailed])
    #expect(routed.refusals.map(\.detail) == ["no number", "no such path"])
    #expect(routed.refusals.map(\.ruleID) == ["b", "e"])
    #expect(Set(routed.tokens.map(\.ordinal)).union(routed.refusals.map(\.ordinal)) == Set(0..<5))
    let declined = try route([Input(#"{"type":"a"}"#)], [rule("a", Fake(outcome: .fail))])
    #expect(declined.declined == 1 && declined.outstanding == [0])
  }

  @Test func moreDeliveriesThanTheLimitSendNothing() throws {
    let rules = (0..<12).map { number in
      var rule = RouterTests.rule("r\(number)")
      if number >= 10 { rule.evaluator = Fake(outcome: .fail) }
      return rule
    }
    let event = [Input(#"{"type":"a"}"#)]
    #expect(try route(event, rules, limits: Limits(deliveriesPerEvent: 10)).values.count == 10)
    let routed = try route(event, rules, limits: Limits(deliveriesPerEvent: 9))
    #expect(routed.values.isEmpty)
    #expect(routed.refusals.map(\.reason) == [.tooManyDeliveries])
    #expect(routed.outstanding == [1])
    #expect(Limits(deliveriesPerEvent: 1_000_000).deliveriesPerEvent < Int(Token.deadLetter))
  }
}
