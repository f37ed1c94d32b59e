import DatabusCore
import Testing

/// Sections that another part than the engine declares.
struct SectionTests {
  /// A section as a program would register it: `left` must not be above `right`, and `transport` must be able to write.
  private static let balance = SectionType(
    "balance",
    ObjectDeclaration(
      "A balance.",
      [
        FieldDeclaration("left", .integer(0...100), default: 0, "The left side."),
        FieldDeclaration("right", .integer(0...100), default: 0, "The right side."),
        FieldDeclaration("weight", .number(0.5...2), default: 1, "How heavy it is."),
        FieldDeclaration("transport", .string(), "What brings the weights."),
      ]), defaultMeaning: "no balance", example: ["left": 1, "right": 2], "What weighs."
  ) { section, context in
    var problems: [SectionProblem] = []
    if section.integer("left") > section.integer("right") {
      problems.append(
        SectionProblem(.invalidValue, at: "left", of: section, "the left is heavier", hint: "take some off"))
    }
    if let name = section.optionalString("transport") {
      if !context.transportNames.contains(name) {
        problems.append(SectionProblem(.unknownReference, at: "transport", of: section, "there is no \"\(name)\""))
      } else if context.configuration != nil, context.capabilities(of: name)?.sink == nil {
        problems.append(SectionProblem(.unsupported, at: "transport", of: section, "\"\(name)\" only reads"))
      }
    }
    return problems
  }

  private static let registry: ComponentRegistry = {
    var registry = ConfigurationFixture.registry
    registry.register(balance)
    return registry
  }()

  private func load(_ text: String) throws(ConfigurationError) -> DatabusConfiguration {
    try ConfigurationLoader(
      registry: SectionTests.registry, environment: { $0 == "HALF" ? "0.5" : nil },
      contents: { _ throws(FileReadError) in throw FileReadError(reason: "there is no such file") }
    ).load(SourceText(name: "databus.json", text), directory: "/etc/databus")
  }

  private func diagnostics(_ text: String) -> [String] {
    do throws(ConfigurationError) {
      _ = try load(text)
      return []
    } catch {
      return error.diagnostics.map(\.description)
    }
  }

  @Test func aRegisteredSectionIsDecoded() throws {
    let section = try load(ConfigurationFixture.text(more: #""balance": {"right": 7, "weight": 1.25}"#)).sections[
      "balance"]
    #expect(section?.integer("left") == 0 && section?.integer("right") == 7)
    #expect(section?.number("weight") == 1.25)
    #expect(section?.dump.compactText == #"{"left": 0, "right": 7, "weight": 1.25}"#)
    #expect(try load(ConfigurationFixture.text()).sections.isEmpty)
  }

  @Test func numbersMayHaveAFractionAndMayBeSubstituted() throws {
    func weight(_ text: String) throws -> Double? {
      try load(ConfigurationFixture.text(more: "\"balance\": {\"weight\": \(text)}")).sections["balance"]?.number(
        "weight")
    }
    #expect(try weight("2") == 2)
    #expect(try weight("5e-1") == 0.5)
    #expect(try weight(#""${HALF}""#) == 0.5)
    #expect(
      diagnostics(ConfigurationFixture.text(more: #""balance": {"weight": 2.5}"#)) == [
        """
        databus.json:5:25: /balance/weight: 2.5 is outside what is permitted
            it must be from 0.5 to 2
        """
      ])
  }

  @Test func itsCheckHasLinesAndColumns() {
    #expect(
      diagnostics(ConfigurationFixture.text(more: #""balance": {"left": 2, "right": 1}"#)) == [
        """
        databus.json:5:23: /balance/left: the left is heavier
            take some off
        """
      ])
  }

  @Test func itsCheckSeesTheRestOfTheFile() {
    let one = ConfigurationFixture.text(
      transports: #"{"local": {"type": "sqlite-log", "path": "l"}}"#, more: #""balance": {"transport": "other"}"#)
    #expect(diagnostics(one) == [#"databus.json:5:28: /balance/transport: there is no "other""#])
    let two = ConfigurationFixture.text(
      pipeline:
        #"{"name": "a", "events": {"transport": "l"}, "rules": {"transport": "l"}, "results": {"transport": "l"}}"#,
      transports: #"{"l": {"type": "sqlite-log", "path": "l"}, "r": {"type": "read-only"}}"#,
      more: #""balance": {"transport": "r"}"#)
    #expect(diagnostics(two) == [#"databus.json:5:28: /balance/transport: "r" only reads"#])
  }

  @Test func itsProblemsComeTogetherWithThoseElsewhere() {
    let text = ConfigurationFixture.text(
      state: #"{"type": "nothing"}"#, more: #""balance": {"left": 2, "transport": "local"}"#)
    #expect(
      diagnostics(text).map { $0.prefix { $0 != "\n" } } == [
        #"databus.json:4:21: /state/type: unknown state backend type "nothing""#,
        "databus.json:5:23: /balance/left: the left is heavier",
      ])
  }

  @Test func aSectionThatIsNotAsDeclaredIsNotCheckedBesides() {
    let text = ConfigurationFixture.text(more: #""balance": {"left": 200, "right": 1}"#)
    #expect(diagnostics(text).count == 1)
    #expect(diagnostics(ConfigurationFixture.text(more: #""balance": 5"#)).count == 1)
  }

  @Test func aMisspeltSectionIsRecognized() {
    #expect(
      diagnostics(ConfigurationFixture.text(more: #""balanse": {}"#)) == [
        """
        databus.json:5:3: /balanse: unknown key "balanse"
            did you mean "balance"?
        """
      ])
  }

  @Test func itIsInSchemaAndReference() throws {
    let schema = try JSONDocument.value(of: Array(ConfigurationSchema.json(SectionTests.registry).utf8))
    let weight = schema["properties"]?["balance"]?["properties"]?["weight"]?["anyOf"]?.elements?.first
    #expect(weight?["type"]?.string == "number")
    #expect(weight?["minimum"]?.compactText == "0.5" && weight?["maximum"]?.compactText == "2")
    let page = ConfigurationSchema.referencePage(SectionTests.registry)
    #expect(page.contains("| `balance` | object | no balance | What weighs. |"))
    #expect(page.contains("## `balance`\n\nA balance.\n"))
    #expect(page.contains("| `weight` | number, 0.5 to 2 | `1` | How heavy it is. |"))
    #expect(page.contains("Not built yet, and refused: `lookups`, `dispatcher`."))
  }

  @Test func aSectionThatIsKnownByNameTakesThePlaceOfWhatIsNotBuilt() throws {
    var registry = SectionTests.registry
    registry.register(SectionType("dispatcher", ObjectDeclaration("A dispatcher.", []), "The dispatcher."))
    let names = ConfigurationDeclaration.root(registry).fields.map(\.name)
    #expect(names.suffix(3) == ["dispatcher", "admin", "balance"])
    let page = ConfigurationSchema.referencePage(registry)
    #expect(page.contains("Not built yet, and refused: `lookups`."))
    let loader = ConfigurationLoader(registry: registry, environment: { _ in nil })
    let configuration = try loader.load(
      SourceText(name: "databus.json", ConfigurationFixture.text(more: #""dispatcher": {}"#)))
    #expect(configuration.sections.keys.sorted() == ["dispatcher"])
  }

  @Test func aSectionOfTheSameNameReplacesTheFirst() {
    var registry = SectionTests.registry
    registry.register(SectionType("balance", ObjectDeclaration("Another.", []), "Another."))
    #expect(registry.sections.map(\.name) == ["balance"])
    #expect(registry.sections.first?.summary == "Another.")
  }
}
