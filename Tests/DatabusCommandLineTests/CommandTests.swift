import DatabusCommandLine
import DatabusCore
import Testing

struct CommandTests {
  @Test func aValidConfigurationSaysWhatWouldRun() async throws {
    try await withFile(CommandFixture.valid) { path in
      let fixture = CommandFixture()
      #expect(await fixture.run("validate", "--config", path) == .done)
      #expect(
        fixture.output.text == """
          \(path): ok

          Pipeline "p" would run:

                         stream          transport  type
          events         events          air        pigeon
          rules          rules           air        pigeon
          results http   results-http    air        pigeon
          results https  results-http    air        pigeon
          dead letters   p-dead-letters  air        pigeon

          State: notebook; a checkpoint every 1s or 100000 records.

          """)
      #expect(fixture.errors.text.isEmpty)
    }
  }

  @Test func theConfigurationIsFoundByItsVariable() async throws {
    try await withFile(CommandFixture.valid) { path in
      let fixture = CommandFixture(environment: ["DATABUS_CONFIG": path])
      #expect(await fixture.run("validate") == .done)
    }
  }

  @Test func allProblemsOfAConfigurationAreShownAndTheExitCodeIsTwo() async throws {
    try await withFile(#"{"pipelin": {}, "transports": {"air": {"type": "pigoen"}}}"#) { path in
      let fixture = CommandFixture()
      #expect(await fixture.run("validate", "--config", path) == .usage)
      #expect(fixture.output.text.isEmpty)
      #expect(
        fixture.errors.text.split(separator: "\n").filter { !$0.hasPrefix(" ") }.map { $0.dropFirst(path.count) } == [
          #":1:2: /pipelin: unknown key "pipelin""#,
          #":1:48: /transports/air/type: unknown transport type "pigoen""#, #":1:1: /state: "state" is missing"#,
        ])
    }
  }

  @Test func scriptsGetTheProblemsAsJSON() async throws {
    try await withFile(#"{"pipelin": {}}"#) { path in
      let fixture = CommandFixture()
      #expect(await fixture.run("validate", "--config", path, "--json") == .usage)
      let result = try JSONDocument.value(of: Array(fixture.output.text.utf8))
      #expect(result["valid"]?.bool == false)
      #expect(result["diagnostics"]?.elements?.first?["kind"]?.string == "unknown-key")
      #expect(result["diagnostics"]?.elements?.first?["column"]?.integer == 2)
    }
    try await withFile(CommandFixture.valid) { path in
      let fixture = CommandFixture()
      #expect(await fixture.run("validate", "-c", path, "--json") == .done)
      let result = try JSONDocument.value(of: Array(fixture.output.text.utf8))
      #expect(result["valid"]?.bool == true)
      #expect(result["streams"]?.elements?.count == 5)
    }
  }

  @Test func aWrongCommandLineGoesToStandardError() async {
    let fixture = CommandFixture()
    #expect(await fixture.run("valdate") == .usage)
    #expect(fixture.output.text.isEmpty)
    #expect(
      fixture.errors.text == """
        databus: there is no subcommand "valdate"; did you mean "validate"?
        'databus --help' shows how it is used.

        """)
  }

  @Test func helpIsTheAnswerOnlyWhereItWasAskedFor() async {
    let asked = CommandFixture()
    #expect(await asked.run("--help") == .done)
    #expect(asked.output.text.contains("  validate "))
    let missing = CommandFixture()
    #expect(await missing.run() == .usage)
    #expect(missing.output.text.isEmpty && missing.errors.text.contains("  validate "))
    let same = CommandFixture()
    #expect(await same.run("help", "validate") == .done)
    let direct = CommandFixture()
    #expect(await direct.run("validate", "--help") == .done)
    #expect(same.output.text == direct.output.text)
  }

  @Test func schemaAndReferenceKnowRegisteredComponents() async throws {
    let schema = CommandFixture()
    #expect(await schema.run("schema") == .done)
    #expect(try JSONDocument.value(of: Array(schema.output.text.utf8))["properties"]?["pipeline"] != nil)
    #expect(schema.output.text.contains("\"pigeon\""))
    let reference = CommandFixture()
    #expect(await reference.run("reference") == .done)
    #expect(reference.output.text.contains("Carries records under a wing."))
  }

  @Test func versionIsOneLine() async {
    for word in ["version", "--version"] {
      let fixture = CommandFixture()
      #expect(await fixture.run(word) == .done)
      #expect(fixture.output.text == "databus \(DatabusCommand.version)\n")
    }
  }

  @Test(
    "an error has its exit code and its sentence",
    arguments: [
      (CommandFailure(.failed, "the disk is full", hint: "make room"), 1, "tool: the disk is full\n    make room\n"),
      (CommandFailure(.strict, "3 refused"), 3, "tool: 3 refused\n"),
    ])
  func failure(_ error: CommandFailure, _ code: Int32, _ text: String) async {
    var fixture = CommandFixture()
    fixture.program = Command("tool", summary: "A tool") { _, _ in throw error }
    #expect(await fixture.run().rawValue == code)
    #expect(fixture.errors.text == text)
  }

  @Test func aReaderThatWentAwayIsNoError() async {
    var fixture = CommandFixture()
    fixture.program = Command("tool", summary: "A tool") { _, _ in throw OutputClosed() }
    #expect(await fixture.run() == .done)
    #expect(fixture.errors.text.isEmpty)
  }

  @Test func signalsComeAsAStream() async {
    let signals = Signals()
    signals.send(15)
    var iterator = signals.stream.makeAsyncIterator()
    #expect(await iterator.next() == 15)
  }
}
