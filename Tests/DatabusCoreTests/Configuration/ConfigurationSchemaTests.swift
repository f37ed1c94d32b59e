import DatabusCore
import Testing

struct ConfigurationSchemaTests {
  private func schema() throws -> JSONValue {
    try JSONDocument.value(of: Array(ConfigurationSchema.json(ConfigurationFixture.registry).utf8))
  }

  @Test func theSchemaIsJSONAndNamesItsDraft() throws {
    #expect(try schema()["$schema"]?.string == "https://json-schema.org/draft/2020-12/schema")
  }

  @Test func everyDeclaredKeyIsInSchemaAndReference() throws {
    let properties = try #require(try schema()["properties"])
    let page = ConfigurationSchema.referencePage(ConfigurationFixture.registry)
    for field in ConfigurationDeclaration.root(ConfigurationFixture.registry).fields {
      // What is not built is an error in a file, and so has no place in its schema.
      #expect((properties[field.name] != nil) == field.isBuilt, "\(field.name)")
      #expect(page.contains("`\(field.name)`"), "\(field.name)")
    }
  }

  @Test func registeredTypesAreInSchemaAndReference() throws {
    let cases = try #require(
      try schema()["properties"]?["transports"]?["additionalProperties"]?["oneOf"]?.elements)
    #expect(
      cases.compactMap { $0["properties"]?["type"]?["const"]?.string } == [
        "sqlite-log", "kafka-like", "read-only", "write-only",
      ])
    let page = ConfigurationSchema.referencePage(ConfigurationFixture.registry)
    #expect(page.contains("## `transports.<name>` of type `sqlite-log`"))
    #expect(page.contains("- `enable.auto.commit`: positions are committed by checkpoints only"))
  }

  @Test func unknownKeysRequiredKeysAndRangesAreInTheSchema() throws {
    let schema = try schema()
    #expect(schema["additionalProperties"]?.bool == false)
    #expect(schema["required"]?.elements?.compactMap(\.string) == ["pipeline", "transports", "state"])
    let depth = schema["properties"]?["limits"]?["properties"]?["depth"]
    #expect(depth?["default"]?.integer == 128)
    #expect(depth?["anyOf"]?.elements?.first?["maximum"]?.integer == 1024)
  }

  @Test func aDeclarationOfAnythingElseHasASchemaToo() throws {
    let rule = ObjectDeclaration(
      "A rule.", acceptsUnknown: true,
      [
        FieldDeclaration("ruleId", .string(StringRule(length: 1...256)), required: true, "Names the rule."),
        FieldDeclaration("events", .array(of: .string()), required: true, "Types."),
        FieldDeclaration("filters", .array(of: .json), default: [], acceptsNull: true, "Tests."),
      ])
    let schema = try JSONDocument.value(
      of: Array(ConfigurationSchema.text(of: rule, title: "A rule", substitutes: false).utf8))
    #expect(schema["additionalProperties"] == nil)
    #expect(schema["properties"]?["ruleId"]?["maxLength"]?.integer == 256)
    #expect(schema["properties"]?["filters"]?["anyOf"]?.elements?.last?["type"]?.string == "null")

    var decoder = ConfigurationDecoder(
      source: SourceText(name: "rules.jsonl", #"{"ruleId": "${A}", "events": ["a"], "filters": null, "more": 1}"#))
    let tree = decoder.parse()
    let result = decoder.decode(try #require(tree), as: rule)
    let decoded = try #require(result)
    #expect(decoded.string("ruleId") == "${A}")
    #expect(decoded.array("filters").isEmpty)
  }
}
