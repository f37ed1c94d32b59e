import Testing

@testable import DatabusCore

@Suite struct RuleDecoderTests {
  private let decoder = RuleDecoder(schemes: ["http", "https"])

  private func decode(_ text: String) -> RuleChange { decoder.decode(Array(text.utf8)) }

  private func rule(_ text: String) throws -> Rule {
    guard case .upsert(let rule) = decode(text) else { throw Unexpected(text: "\(decode(text))") }
    return rule
  }

  private struct Unexpected: Error { var text: String }

  private func refused(_ text: String) -> (id: String?, reasons: [String])? {
    if case .refused(let id, let reasons) = decode(text) { return (id, reasons) }
    return nil
  }

  static let complete =
    #"{"ruleId":"r","events":["a","b*","*",""],"destinationUrl":"HTTPS://x.y/z","delivery":{"a" :1},"enabled":false}"#

  @Test func aCompleteRuleIsReadWhole() throws {
    let rule = try rule(RuleDecoderTests.complete)
    #expect(rule.id == "r")
    #expect(rule.events == ["a", "b*", "*", ""])
    #expect(rule.destination == "HTTPS://x.y/z")
    #expect(rule.scheme == "https")
    #expect(rule.isEnabled == false)
    #expect(rule.delivery.map { String(decoding: $0, as: UTF8.self) } == #"{"a" :1}"#)
    #expect(rule.warnings.isEmpty)
  }

  @Test func whatIsNotSaidHasItsDefault() throws {
    let rule = try rule(#"{"ruleId":"r","events":[],"destinationUrl":"https://x.y"}"#)
    #expect(rule.isEnabled)
    #expect(rule.events.isEmpty)
    #expect(rule.delivery == nil)
  }

  @Test(
    arguments: [
      (#"{"events":["a"],"destinationUrl":"https://x.y"}"#, nil, "\"ruleId\" is missing: a string of 1 to 256 bytes"),
      (
        #"{"ruleId":7,"events":["a"],"destinationUrl":"https://x.y"}"#, nil,
        "\"ruleId\" is a number; it must be a string of 1 to 256 bytes"
      ),
      (
        #"{"ruleId":null,"events":["a"],"destinationUrl":"https://x.y"}"#, nil,
        "\"ruleId\" is null; it must be a string of 1 to 256 bytes"
      ),
      (
        #"{"ruleId":"","events":["a"],"destinationUrl":"https://x.y"}"#, nil,
        "\"ruleId\" has 0 bytes; it must be a string of 1 to 256 bytes"
      ),
      (
        #"{"ruleId":"a\u0000","events":["a"],"destinationUrl":"https://x.y"}"#, nil,
        "\"ruleId\" contains a control character"
      ),
      (
        #"{"ruleId":"a\u0085","events":["a"],"destinationUrl":"https://x.y"}"#, nil,
        "\"ruleId\" contains a control character"
      ),
      (
        #"{"ruleId":"r","destinationUrl":"https://x.y"}"#, "r",
        "\"events\" is missing: an array of event types, each exact or ending in \"*\""
      ),
      (
        #"{"ruleId":"r","events":"a","destinationUrl":"https://x.y"}"#, "r",
        "\"events\" is a string; it must be an array of event types, each exact or ending in \"*\""
      ),
      (
        #"{"ruleId":"r","events":["a",1],"destinationUrl":"https://x.y"}"#, "r",
        "\"events\"[1] is a number; it must be a string"
      ),
      (
        #"{"ruleId":"r","events":["a*b"],"destinationUrl":"https://x.y"}"#, "r",
        "\"events\"[0] \"a*b\" has a \"*\" before its end; only a prefix can be matched"
      ),
      (
        #"{"ruleId":"r","events":["**"],"destinationUrl":"https://x.y"}"#, "r",
        "\"events\"[0] \"**\" has a \"*\" before its end; only a prefix can be matched"
      ),
      (
        #"{"ruleId":"r","events":["a"]}"#, "r",
        "\"destinationUrl\" is missing: an absolute URL with a host, such as \"https://example.com/hook\""
      ),
      (
        #"{"ruleId":"r","events":["a"],"destinationUrl":1}"#, "r",
        "\"destinationUrl\" is a number; it must be an absolute URL with a host, such as \"https://example.com/hook\""
      ),
      (
        #"{"ruleId":"r","events":["a"],"destinationUrl":"x.y"}"#, "r",
        "\"destinationUrl\" \"x.y\" is not an absolute URL; it must be an absolute URL with a host, such as \"https://example.com/hook\""
      ),
      (
        #"{"ruleId":"r","events":["a"],"destinationUrl":"ftp://x.y"}"#, "r",
        "\"destinationUrl\" has the scheme \"ftp\", which has no results stream; schemes with one: http, https (pipeline.results.streams)"
      ),
      (
        #"{"ruleId":"r","events":["a"],"destinationUrl":"https://x.y","enabled":1}"#, "r",
        "\"enabled\" is a number; it must be true or false"
      ),
      (
        #"{"ruleId":"r","events":["a"],"destinationUrl":"https://x.y","deleted":"yes"}"#, "r",
        "\"deleted\" is a string; it must be true or false"
      ),
      (
        #"{"ruleId":"r","events":["a"],"destinationUrl":"https://x.y","delivery":[]}"#, "r",
        "\"delivery\" is an array; it must be an object"
      ),
      (
        #"{"ruleId":"r","events":["a"],"destinationUrl":"https://x.y","filter":[]}"#, "r",
        "unknown field \"filter\"; did you mean \"filters\"?"
      ),
      (
        #"{"ruleId":"r","events":["a"],"destinationUrl":"https://x.y","ruleId":"r"}"#, "r",
        "\"ruleId\" stands twice; leave one"
      ),
      (#"{"ruleId":"r","deleted":true,"ruleId":"s"}"#, "s", "\"ruleId\" stands twice; leave one"),
      (#"{"ruleId":"r","deleted":false,"deleted":true}"#, "r", "\"deleted\" stands twice; leave one"),
      ("[]", nil, "a rule is a JSON object, and this is an array"),
      ("\"x\"", nil, "a rule is a JSON object, and this is a string"),
      ("{\n\"ruleId\": r}", nil, "not valid JSON at 2:11: a value is expected, and here is \"r\""),
      ("", nil, "not valid JSON at 1:1: a value is expected, and here is the end of the text"),
    ] as [(String, String?, String)]) func aWrongFieldIsRefusedWithItsReason(
      _ text: String, _ id: String?, _ reason: String
    ) throws
  {
    let refusal = try #require(refused(text))
    #expect(refusal.reasons == [reason])
    #expect(refusal.id == id)
  }

  @Test func everyProblemOfARuleIsToldAtOnce() throws {
    let refusal = try #require(refused(#"{"event":["a"],"destinationUrl":"x","enabled":"no","filters":[1]}"#))
    #expect(refusal.reasons.count == 6)
  }

  @Test func theProblemsOfAHostileRuleAreBounded() throws {
    let list = Array(repeating: "1", count: 100_000).joined(separator: ",")
    let reasons = try #require(refused(#"{"ruleId":"r","events":[\#(list)],"destinationUrl":"https://x.y"}"#)).reasons
    #expect(reasons.count == 21)
    #expect(reasons.last == "and 99980 more")
    let long = String(repeating: "x", count: 500_000)
    let quoted = try #require(refused(#"{"ruleId":"r","events":["\#(long)*x"],"destinationUrl":"\#(long)"}"#)).reasons
    #expect(quoted.allSatisfy { $0.utf8.count < 1000 })
  }

  @Test(arguments: ["filters", "transforms", "enrich", "aggregate"]) func aMemberThatIsNotBuiltRefusesTheRule(
    _ name: String
  ) throws {
    func text(_ value: String) -> String {
      #"{"ruleId":"r","events":["a"],"destinationUrl":"https://x.y","\#(name)":\#(value)}"#
    }
    for empty in ["null", "[]", "{}"] { _ = try rule(text(empty)) }
    for full in ["[1]", #"{"a":1}"#, "\"x\"", "0", "false"] {
      #expect(refused(text(full))?.reasons == ["\"\(name)\" is not built yet; leave it out or empty"], "\(full)")
    }
  }

  @Test func aDeleteNeedsNothingButTheID() {
    guard case .delete(let id) = decode(#"{"ruleId":"r","deleted":true}"#) else {
      Issue.record("not a delete")
      return
    }
    #expect(id == "r")
    #expect(refused(#"{"deleted":true}"#)?.reasons.count == 1)
  }

  @Test func fieldsThatNobodyKnowsAreWarnings() throws {
    let text = #"{"ruleId":"r","events":["a"],"destinationUrl":"https://x.y","description":"d","x-owner":1}"#
    #expect(
      try rule(text).warnings == [
        "unknown field \"description\" is not used", "unknown field \"x-owner\" is not used",
      ])
  }

  @Test func limitsAreExact() throws {
    func text(id: Int) -> String {
      #"{"ruleId":"\#(String(repeating: "x", count: id))","events":[],"destinationUrl":"https://x.y"}"#
    }
    _ = try rule(text(id: 256))
    #expect(refused(text(id: 257)) != nil)
    func delivery(_ count: Int) -> String {
      let filler = String(repeating: "x", count: count - 8)
      return #"{"ruleId":"r","events":[],"destinationUrl":"https://x.y","delivery":{"a":"\#(filler)"}}"#
    }
    #expect(try rule(delivery(4096)).delivery?.count == 4096)
    #expect(refused(delivery(4097))?.reasons == ["\"delivery\" has 4097 bytes; at most 4096 are taken"])
    let small = RuleDecoder(schemes: ["https"], maximumBytes: 80)
    if case .upsert = small.decode(Array(text(id: 5).utf8)) {} else { Issue.record("80 bytes are not taken") }
    guard case .refused(nil, let reasons) = small.decode(Array(text(id: 100).utf8)) else {
      Issue.record("too long, and taken")
      return
    }
    #expect(reasons.first?.contains("(limits.ruleBytes)") == true)
  }

  @Test func deliverySettingsAreOneLineAndCutOutExactly() throws {
    let text = "{\"ruleId\":\"r\",\"events\":[],\"destinationUrl\":\"https://x.y\",\"delivery\": {\n\"a\":\r\n[1] } }"
    let bytes = Array(text.utf8)
    for value in [bytes, [0xEF, 0xBB, 0xBF] + bytes] {
      guard case .upsert(let rule) = decoder.decode(value) else {
        Issue.record("refused")
        return
      }
      #expect(rule.delivery.map { String(decoding: $0, as: UTF8.self) } == "{ \"a\":  [1] }")
    }
  }
}
