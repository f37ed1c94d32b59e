import Foundation
import KafkaFixture
import RedisServerFixture
import Testing

/// Whatever README.md and docs/ show is run: commands, configurations, rules, events, and output that is compared.
///
/// A fenced block says behind its language how it is run. One that says nothing that is known here fails the test, so that
/// nothing can be shown and not be run:
///
/// | info string | what is done |
/// | --- | --- |
/// | `sh` | run; it must succeed |
/// | `sh fails=N` | run; its last command must end with N |
/// | `sh typed` | run with the next block, `jsonl typed`, as what a person types |
/// | `sh background` | one command, started as in another terminal; interrupted at the end, and must then end with 0 |
/// | `sh stops` | first interrupts what runs in other terminals |
/// | `sh checked` | builds and tests: not run inside a test; programs and options must exist |
/// | `json`, `jsonl` | must be JSON; with `file=NAME` written to the file; a configuration must be valid |
/// | `python` | run by python3; it must succeed |
/// | `python receiver`, `javascript receiver` | run by `ReceiverGuideTests` |
/// | `go receiver` | shown: its toolchain is not asked for |
/// | `text` | a drawing |
/// | `text output` | must be what the block before it wrote; ids are compared as `ID` |
/// | `swift from=PATH` | must stand, line by line, in the file, which is built and run elsewhere |
///
/// `kafka` before all of that (`sh kafka typed`) says that the block needs a Kafka and a Redis. Those of a page are run by themselves, in a
/// clone of their own, with Kafka's `bin` on the PATH and both addresses in `KAFKA_BOOTSTRAP_SERVERS` and `REDIS_URL`.
struct DocumentTests {
  @Test(arguments: Repository.documents)
  func everyBlockIsRunAndHoldsWhatItShows(_ document: String) throws {
    let blocks = MarkdownBlock.all(in: try Repository.text(document), document: document).filter { !$0.needsKafka }
    if blocks.isEmpty { return }
    try run(blocks, try Workspace())
  }

  /// Pages with blocks that need a Kafka.
  private static let kafkaDocuments = Repository.documents.filter { document in
    guard let text = try? Repository.text(document) else { return true }
    return MarkdownBlock.all(in: text, document: document).contains { $0.needsKafka }
  }

  @Test(
    "every block that needs Kafka and Redis is run and holds what it shows", .serialized,
    .enabled(if: KafkaCluster.canStart, Comment(rawValue: KafkaCluster.startRequirement)), arguments: kafkaDocuments)
  func everyKafkaBlock(_ document: String) async throws {
    let blocks = MarkdownBlock.all(in: try Repository.text(document), document: document).filter(\.needsKafka)
    let cluster = try await KafkaCluster.start()
    defer { cluster.remove() }
    let redis = try await RedisServer(.port)
    let home = try #require(ProcessInfo.processInfo.environment["KAFKA_HOME"])
    try run(
      blocks,
      try Workspace(
        programs: home + "/bin",
        variables: ["KAFKA_BOOTSTRAP_SERVERS": cluster.bootstrapServers, "REDIS_URL": redis.url]))
  }

  private func run(_ blocks: [MarkdownBlock], _ workspace: Workspace) throws {
    var output = ""
    for (index, block) in blocks.enumerated() {
      let next = index + 1 < blocks.count ? blocks[index + 1] : nil
      try run(block, next, workspace, &output)
    }
    for problem in try workspace.interruptAll() { Issue.record("\(problem)") }
  }

  private func run(_ block: MarkdownBlock, _ next: MarkdownBlock?, _ workspace: Workspace, _ output: inout String)
    throws
  {
    if let complaint = DocumentTests.complaint(block) {
      Issue.record("\(block.place): \(complaint)")
      return
    }
    // The documented ports may be taken on this machine.
    var block = block
    block.text = block.text.replacingOccurrences(of: "9464", with: "\(workspace.adminPort)")
      .replacingOccurrences(of: "8080", with: "\(workspace.receiverPort)")
    let attribute = block.attributes.first.map { String($0.prefix { $0 != "=" }) } ?? ""
    switch (block.language, attribute) {
    case ("sh", ""), ("sh", "stops"), ("sh", "typed"), ("sh", "fails"):
      if attribute == "stops" {
        for problem in try workspace.interruptAll() { Issue.record("\(block.place): \(problem)") }
      }
      let isTyped = attribute == "typed"
      if isTyped { #expect(next?.has("typed") == true, "\(block.place): what is typed must follow") }
      let result = try workspace.run(block.text, input: isTyped ? next?.text ?? "" : "")
      output = result.output
      let status = block.value("fails").flatMap { Int32($0) } ?? 0
      #expect(result.status == status, "\(block.place):\n\(result.output)")
    case ("python", ""):
      let result = try workspace.run("python3 - <<'END'\n\(block.text)END")
      output = result.output
      #expect(result.status == 0, "\(block.place):\n\(result.output)")
    case ("sh", "background"):
      let lines = block.text.split(separator: "\n")
      #expect(lines.count == 1, "\(block.place): one command")
      try workspace.start(String(lines.first ?? "false"), place: block.place)
    case ("sh", "checked"):
      for line in block.text.split(separator: "\n") { try check(String(line), block) }
    case ("json", ""), ("json", "file"): try data(block, [block.text], workspace)
    case ("jsonl", ""), ("jsonl", "file"), ("jsonl", "typed"):
      try data(block, block.text.split(separator: "\n").map(String.init), workspace)
    case ("text", ""), ("python", "receiver"), ("javascript", "receiver"), ("go", "receiver"): break
    case ("text", "output"): #expect(normal(output) == normal(block.text), "\(block.place)")
    case ("swift", "from"):
      let source = try Repository.text(block.value("from") ?? "").split(separator: "\n").map(trimmed)
      for line in block.text.split(separator: "\n") where !trimmed(line).isEmpty {
        #expect(source.contains(trimmed(line)), "\(block.place): \(line)")
      }
    default: Issue.record("\(block.place): this kind of block is known and nothing runs it")
    }
  }

  private static let kinds: [String: Set<String>] = [
    "sh": ["", "fails", "typed", "background", "stops", "checked"], "json": ["", "file"],
    "jsonl": ["", "file", "typed"], "text": ["", "output"], "python": ["", "receiver"], "javascript": ["receiver"],
    "go": ["receiver"], "swift": ["from"],
  ]

  /// Why a block would not be run; nil where it would.
  static func complaint(_ block: MarkdownBlock) -> String? {
    let attribute = block.attributes.first.map { String($0.prefix { $0 != "=" }) } ?? ""
    guard let attributes = kinds[block.language] else {
      return "nothing runs a block of language \"\(block.language)\"; there are \(kinds.keys.sorted())"
    }
    if block.attributes.count > 1 { return "one attribute at most" }
    if attributes.contains(attribute) { return nil }
    return "nothing runs \"\(block.language) \(attribute)\"; there are \(attributes.sorted())"
  }

  private func trimmed(_ line: Substring) -> String { line.trimmingCharacters(in: .whitespaces) }

  private func normal(_ text: String) -> String {
    text.replacingOccurrences(of: #""id":"[0-9a-f]{32}""#, with: #""id":"ID""#, options: .regularExpression)
      .trimmingCharacters(in: .newlines)
  }

  /// JSON must be JSON, a configuration one that the program takes.
  private func data(_ block: MarkdownBlock, _ texts: [String], _ workspace: Workspace) throws {
    for text in texts {
      let value = try? JSONSerialization.jsonObject(with: Data(text.utf8), options: .fragmentsAllowed)
      #expect(value != nil, "\(block.place): not JSON: \(text)")
      if let object = value as? [String: Any], object["pipeline"] != nil {
        #expect(block.value("file") != nil, "\(block.place): a configuration has a file=NAME, so that it is tried")
      }
    }
    guard let file = block.value("file") else { return }
    try workspace.write(block.text, to: file)
    if block.text.contains("\"pipeline\"") {
      let result = try workspace.run("databus validate --config '\(file)'")
      #expect(result.status == 0, "\(block.place):\n\(result.output)")
    }
  }

  /// What builds or tests is not run in the middle of a test; but it must be there, and know its options.
  private func check(_ line: String, _ block: MarkdownBlock) throws {
    let words = line.split(separator: " ").map(String.init)
    let command = words.first ?? ""
    if command == "swift" {
      let products = try Repository.text("Package.swift")
      if let product = words.firstIndex(of: "--product"), product + 1 < words.count {
        #expect(products.contains("name: \"\(words[product + 1])\""), "\(block.place): \(line)")
      }
      return
    }
    #expect(command.hasPrefix("bin/"), "\(block.place): only commands of this repository are left unrun: \(line)")
    let source = try Repository.text(command)
    for option in words where option.hasPrefix("--") {
      #expect(source.contains(option), "\(block.place): \(command) does not know \(option)")
    }
  }

  @Test func aBlockThatNothingRunsIsComplainedAbout() {
    let text = """
      ```
      ls
      ```
      ```bash
      ls
      ```
      ```sh sometimes
      ls
      ```
      ```sh typed background
      ls
      ```
      - in a list:
        ```sh
        ls
        ```
      """
    let blocks = MarkdownBlock.all(in: text, document: "x.md")
    #expect(blocks.map(\.line) == [1, 4, 7, 10, 14])
    #expect(blocks.map { DocumentTests.complaint($0) == nil } == [false, false, false, false, true])
    #expect(blocks.last?.text == "ls\n")
  }

  @Test func kafkaStandsInFrontOfWhatIsDone() {
    let text = """
      ```sh kafka typed
      ```
      ```sh kafka
      ```
      ```sh typed kafka
      ```
      """
    let blocks = MarkdownBlock.all(in: text, document: "x.md")
    #expect(blocks.map(\.needsKafka) == [true, true, false])
    #expect(blocks.map(\.attributes) == [["typed"], [], ["typed", "kafka"]])
    #expect(blocks.map { DocumentTests.complaint($0) == nil } == [true, true, false])
  }

  @Test(arguments: Repository.documents)
  func linksLeadSomewhere(_ document: String) throws {
    let text = try Repository.text(document)
    let folder = Repository.root.appendingPathComponent(document).deletingLastPathComponent()
    for match in text.matches(of: /\]\(([^)#\s]+)/) where !match.1.contains("://") {
      let target = folder.appendingPathComponent(String(match.1)).path
      #expect(FileManager.default.fileExists(atPath: target), "\(document): \(match.1)")
    }
  }
}
