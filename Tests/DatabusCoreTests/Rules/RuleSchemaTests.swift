import Foundation
import Testing

@testable import DatabusCore

/// The JSON Schema of a rule says what the decoder says, as far as a schema can.
@Suite struct RuleSchemaTests {
  private func schema() throws -> JSONValue {
    try JSONDocument.value(of: Array(ConfigurationSchema.ruleJSON().utf8))
  }

  private func isRefused(_ text: String) -> Bool {
    let decoder = RuleDecoder(schemes: ["http", "https"])
    if case .refused = decoder.decode(Array(text.utf8)) { return true }
    return false
  }

  private func isValid(_ text: String) throws -> Bool {
    try Self.isValid(try JSONDocument.value(of: Array(text.utf8)), try schema())
  }

  private struct Unknown: Error { var keyword: String }

  /// As much of JSON Schema as the schema of a rule uses.
  private static func isValid(_ value: JSONValue, _ schema: JSONValue) throws -> Bool {
    for member in schema.members ?? [] where try !holds(member.name, member.value, of: value, in: schema) {
      return false
    }
    return true
  }

  private static func holds(
    _ keyword: String, _ rule: JSONValue, of value: JSONValue, in schema: JSONValue
  ) throws -> Bool {
    switch keyword {
    case "$schema", "title", "description", "default", "examples", "else": return true
    case "type":
      switch rule.string {
      case "object": return value.members != nil
      case "array": return value.elements != nil
      case "string": return value.string != nil
      case "boolean": return value.bool != nil
      case "null": return value.isNull
      default: throw Unknown(keyword: "type \(rule.compactText)")
      }
    case "const": return value.compactText == rule.compactText
    case "enum": return rule.elements?.contains { $0.compactText == value.compactText } == true
    case "required":
      guard value.members != nil else { return true }
      return rule.elements?.allSatisfy { value[$0.string ?? ""] != nil } == true
    case "properties":
      for property in rule.members ?? [] {
        if let member = value[property.name], try !isValid(member, property.value) { return false }
      }
      return true
    case "items": return try (value.elements ?? []).allSatisfy { try isValid($0, rule) }
    case "anyOf": return try (rule.elements ?? []).contains { try isValid(value, $0) }
    case "if": return try isValid(value, rule) || isValid(value, try #require(schema["else"]))
    case "minLength": return (value.string?.unicodeScalars.count ?? .max) >= (try #require(rule.integer))
    case "maxLength": return (value.string?.unicodeScalars.count ?? 0) <= (try #require(rule.integer))
    case "pattern":
      guard let text = value.string else { return true }
      let pattern = try NSRegularExpression(pattern: try #require(rule.string))
      return pattern.firstMatch(in: text, range: NSRange(text.startIndex..., in: text)) != nil
    default: throw Unknown(keyword: keyword)
    }
  }

  private static let base = #""ruleId":"r","events":["a","b*","*"],"destinationUrl":"https://x.y/z?q#f""#

  @Test(arguments: [
    "{\(base)}", #"{"ruleId":"r","deleted":true}"#, #"{"ruleId":"r","events":[],"destinationUrl":"http://[::1]:80"}"#,
    #"{\#(base),"enabled":false,"delivery":{"timeout":"5s"},"owner":"nobody knows this"}"#,
    #"{\#(base),"enabled":null,"delivery":null,"deleted":null,"filters":null,"transforms":[],"enrich":{}}"#,
  ])
  func whatTheDecoderTakesIsValid(_ text: String) throws {
    #expect(!isRefused(text))
    #expect(try isValid(text))
  }

  @Test(arguments: [
    "7", "[]", "{}", #"{"ruleId":"r"}"#, #"{"ruleId":"r","deleted":false}"#, #"{"deleted":true}"#,
    #"{"ruleId":7,"events":[],"destinationUrl":"https://x.y"}"#,
    #"{"ruleId":"","events":[],"destinationUrl":"https://x.y"}"#,
    #"{"ruleId":"a\u0007","events":[],"destinationUrl":"https://x.y"}"#,
    #"{"ruleId":"r","events":"a","destinationUrl":"https://x.y"}"#,
    #"{"ruleId":"r","events":[1],"destinationUrl":"https://x.y"}"#,
    #"{"ruleId":"r","events":["a*b"],"destinationUrl":"https://x.y"}"#,
    #"{"ruleId":"r","events":["a"],"destinationUrl":"x.y"}"#,
    #"{"ruleId":"r","events":["a"],"destinationUrl":"https:///z"}"#,
    #"{"ruleId":"r","events":["a"],"destinationUrl":"https://user:secret@x.y"}"#,
    #"{\#(base),"enabled":"no"}"#, #"{\#(base),"enabled":1}"#, #"{\#(base),"delivery":[]}"#,
    #"{\#(base),"filters":[{"a":1}]}"#, #"{\#(base),"aggregate":{"a":1}}"#,
  ])
  func whatTheSchemaRefusesTheDecoderRefuses(_ text: String) throws {
    #expect(isRefused(text))
    #expect(try !isValid(text))
  }

  @Test func theSchemaNamesEveryFieldThatTheDecoderKnows() throws {
    let properties = try #require(try schema()["properties"]?.members)
    #expect(properties.map(\.name) == RuleDeclaration.object.fields.map(\.name))
  }
}
