import DatabusCore
import Testing

/// Every kind of diagnostic, with its line, column, pointer and hint.
struct ConfigurationDiagnosticsTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var text: String
    var expected: Diagnostic

    init(
      _ description: String, _ text: String, _ kind: Diagnostic.Kind, _ line: Int, _ column: Int, _ pointer: String,
      _ message: String, _ hint: String?
    ) {
      testDescription = description
      self.text = text
      expected = Diagnostic(
        kind, file: "databus.json", line: line, column: column, pointer: pointer, message: message, hint: hint)
    }
  }

  static let cases: [Case] = [
    Case(
      "a missing comma", "{\n  \"pipeline\": {}\n  \"state\": {}\n}", .syntax, 3, 3, "",
      #"not valid JSON: a "," or "}" is expected, and here is """"#, nil),
    Case(
      "a duplicate key", ConfigurationFixture.text(more: #""limits": {"depth": 5, "depth": 6}"#), .duplicateKey, 5, 26,
      "/limits/depth", #""depth" stands twice"#, "the first one is at 5:14; remove one of the two"),
    Case(
      "two transports of one name",
      ConfigurationFixture.text(
        transports: #"{"a": {"type": "sqlite-log", "path": "a"}, "a": {"type": "sqlite-log", "path": "b"}}"#),
      .duplicateKey, 3, 60, "/transports/a", #""a" stands twice"#,
      "the first one is at 3:18; remove one of the two"),
    Case(
      "an unknown key", ConfigurationFixture.text(more: #""limits": {"dept": 5}"#), .unknownKey, 5, 14, "/limits/dept",
      #"unknown key "dept""#, #"did you mean "depth"?"#),
    Case(
      "an unknown key like no other", ConfigurationFixture.text(more: #""checkpoint": {"zzzzzz": 5}"#), .unknownKey, 5,
      18, "/checkpoint/zzzzzz", #"unknown key "zzzzzz""#, #"known here: "interval", "records""#),
    Case(
      "a misspelt required key, without the complaint that it is missing",
      ConfigurationFixture.text(pipeline: #"{"nmae": "quickstart"}"#), .unknownKey, 2, 16, "/pipeline/nmae",
      #"unknown key "nmae""#, #"did you mean "name"?"#),
    Case(
      "a misspelt type key", ConfigurationFixture.text(state: #"{"typ": "sqlite", "path": "s"}"#), .unknownKey, 4, 13,
      "/state/typ", #"unknown key "typ""#, #"did you mean "type"?"#),
    Case(
      "an unknown transport type", ConfigurationFixture.text(transports: #"{"local": {"type": "sqlite-lgo"}}"#),
      .unknownType, 3, 36, "/transports/local/type", #"unknown transport type "sqlite-lgo""#,
      #"did you mean "sqlite-log"?"#),
    Case(
      "an unknown state type", ConfigurationFixture.text(state: #"{"type": "postgres"}"#), .unknownType, 4, 21,
      "/state/type", #"unknown state backend type "postgres""#, #"known here: "sqlite""#),
    Case(
      "a missing type", ConfigurationFixture.text(state: "{}"), .missing, 4, 12, "/state/type", #""type" is missing"#,
      #"the type of a state backend is one of "sqlite""#),
    Case(
      "no state", #"{"pipeline": {"name": "a"}, "transports": {"l": {"type": "sqlite-log", "path": "x"}}}"#, .missing,
      1, 1, "/state", #""state" is missing"#,
      #"Where rules, positions and checkpoints survive a restart. For example: "state": {"type": "sqlite", "path": "databus-state.db"}"#
    ),
    Case(
      "no pipeline name", ConfigurationFixture.text(pipeline: "{}"), .missing, 2, 15, "/pipeline/name",
      #""name" is missing"#,
      #"Prefix of state, deduplication keys and consumer group: two pipelines with different names never meet. For example: "name": "quickstart""#
    ),
    Case(
      "the wrong kind of value", ConfigurationFixture.text(pipeline: #"["name"]"#), .wrongKind, 2, 15, "/pipeline",
      "an object was expected, and this is an array", nil),
    Case(
      "a number in quotes", ConfigurationFixture.text(more: #""limits": {"depth": "5"}"#), .wrongKind, 5, 23,
      "/limits/depth", "a whole number was expected, and this is a string", "write it without quotes"),
    Case(
      "a boolean in quotes", ConfigurationFixture.text(pipeline: #"{"name": "a", "results": {"headers": "true"}}"#),
      .wrongKind, 2, 52, "/pipeline/results/headers", "true or false was expected, and this is a string",
      "write it without quotes"),
    Case(
      "a number out of range", ConfigurationFixture.text(more: #""limits": {"depth": 5000}"#), .invalidValue, 5, 23,
      "/limits/depth", "5000 is outside what is permitted", "it must be from 1 to 1024"),
    Case(
      "a fraction", ConfigurationFixture.text(more: #""limits": {"depth": 1.5}"#), .invalidValue, 5, 23,
      "/limits/depth", "1.5 is not a whole number that can be used here", nil),
    Case(
      "a duration without unit", ConfigurationFixture.text(more: #""checkpoint": {"interval": "5"}"#), .invalidValue,
      5, 30, "/checkpoint/interval", #""5" is not a duration"#,
      #"write a duration as a whole number and a unit: "250ms", "1s", "5m", "1h""#),
    Case(
      "a duration out of range", ConfigurationFixture.text(more: #""checkpoint": {"interval": "2h"}"#), .invalidValue,
      5, 30, "/checkpoint/interval", #""2h" is outside what is permitted"#, "it must be from 10ms to 1h"),
    Case(
      "a duration as a number", ConfigurationFixture.text(more: #""checkpoint": {"interval": 5}"#), .wrongKind,
      5, 30, "/checkpoint/interval", "a duration in quotes was expected, and this is a number",
      #"write a duration as a whole number and a unit: "250ms", "1s", "5m", "1h""#),
    Case(
      "no size", ConfigurationFixture.text(more: #""limits": {"eventBytes": "1 Mb"}"#), .invalidValue, 5, 28,
      "/limits/eventBytes", #""1 Mb" is not a size"#,
      #"write a size as a whole number and a unit: "16MiB", "64KiB", "1000""#),
    Case(
      "a size out of range", ConfigurationFixture.text(more: #""limits": {"eventBytes": 3}"#), .invalidValue, 5, 28,
      "/limits/eventBytes", #""3" is outside what is permitted"#, "it must be from 1KiB to 1GiB"),
    Case(
      "a near miss of an enumeration",
      ConfigurationFixture.text(pipeline: #"{"name": "a", "events": {"onGap": "contiue"}}"#), .invalidValue, 2, 49,
      "/pipeline/events/onGap", #""contiue" is not permitted here"#, #"did you mean "continue"?"#),
    Case(
      "a start that is none", ConfigurationFixture.text(pipeline: #"{"name": "a", "events": {"start": "2026-02-30"}}"#),
      .invalidValue, 2, 49, "/pipeline/events/start", #""2026-02-30" is no place to start at"#,
      "it must be `earliest`, `latest` or an RFC 3339 time"),
    Case(
      "an unusable pipeline name", ConfigurationFixture.text(pipeline: #"{"name": "a b"}"#), .invalidValue, 2, 24,
      "/pipeline/name", #""a b" contains other characters than letters, digits, ".", "_" and "-""#,
      "it must be letters, digits, `.`, `_` and `-`"),
    Case(
      "an empty string", ConfigurationFixture.text(state: #"{"type": "sqlite", "path": ""}"#), .invalidValue, 4, 39,
      "/state/path", "the string is empty", "at least 1 byte(s) must stand here"),
    Case(
      "results without streams", ConfigurationFixture.text(pipeline: #"{"name": "a", "results": {"streams": {}}}"#),
      .invalidValue, 2, 52, "/pipeline/results/streams", "this is empty", "at least 1 must stand here"),
    Case(
      "a reserved property",
      ConfigurationFixture.text(
        transports: #"{"k": {"type": "kafka-like", "properties": {"enable.auto.commit": "true"}}}"#), .reservedName, 3,
      61, "/transports/k/properties/enable.auto.commit",
      #""enable.auto.commit" cannot be set: positions are committed by checkpoints only"#, "remove it"),
    Case(
      "a section that is not built", ConfigurationFixture.text(more: #""lookups": {}"#), .notBuilt, 5, 3, "/lookups",
      #""lookups" is not built yet"#, "remove it; this release works without"),
    Case(
      "dispatcher", ConfigurationFixture.text(more: #""dispatcher": {}"#), .notBuilt, 5, 3, "/dispatcher",
      #""dispatcher" is not built yet"#, "remove it; this release works without"),
    Case(
      "an address that is none", ConfigurationFixture.text(more: #""admin": {"address": "here"}"#), .invalidValue, 5,
      24,
      "/admin/address", #""here" is no IP address"#,
      "it must be an IPv4 or IPv6 address of this machine, or `localhost`"),
    Case(
      "a port out of range", ConfigurationFixture.text(more: #""admin": {"port": 70000}"#), .invalidValue, 5, 21,
      "/admin/port", "70000 is outside what is permitted", "it must be from 0 to 65535"),
    Case(
      "a near miss of admin", ConfigurationFixture.text(more: #""admim": {}"#), .unknownKey, 5, 3, "/admim",
      #"unknown key "admim""#, #"did you mean "admin"?"#),
    Case(
      "exactly-once", ConfigurationFixture.text(pipeline: #"{"name": "a", "delivery": "exactly-once"}"#), .notBuilt, 2,
      41, "/pipeline/delivery", #""exactly-once" is not built yet"#, #"use "at-least-once""#),
    Case(
      "an undefined variable", ConfigurationFixture.text(state: #"{"type": "sqlite", "path": "${STATE}"}"#),
      .substitution, 4, 39, "/state/path", "the environment variable STATE is not set",
      "set it, or give a default: ${STATE:-default}"),
    Case(
      "an open reference", ConfigurationFixture.text(state: #"{"type": "sqlite", "path": "${STATE"}"#),
      .substitution, 4, 39, "/state/path", #"a "${" without its "}""#,
      #"close it, or write "$${" where the text itself is meant"#),
    Case(
      "a secret file that is not there",
      ConfigurationFixture.text(state: #"{"type": "sqlite", "path": "${file:secrets/path}"}"#), .substitution, 4, 39,
      "/state/path", "the file /etc/databus/secrets/path cannot be read: there is no such file",
      #""${file:...}" is replaced by the contents of that file"#),
    Case(
      "a transport that does not exist",
      ConfigurationFixture.text(pipeline: #"{"name": "a", "events": {"transport": "locla"}}"#), .unknownReference, 2,
      53, "/pipeline/events/transport", #"there is no transport "locla" in "transports""#, #"did you mean "local"?"#),
    Case(
      "reading from a transport that only writes",
      ConfigurationFixture.text(
        pipeline:
          #"{"name": "a", "rules": {"transport": "w"}, "events": {"transport": "l"}, "results": {"transport": "l"}}"#,
        transports: #"{"l": {"type": "sqlite-log", "path": "x"}, "w": {"type": "write-only"}}"#), .unsupported, 2, 52,
      "/pipeline/rules/transport", #"rules cannot be read from "w": its type "write-only" only writes"#, nil),
    Case(
      "a start by time where the transport has none",
      ConfigurationFixture.text(
        pipeline: #"{"name": "a", "events": {"start": "2026-11-23T00:00:00Z"}}"#,
        transports: #"{"k": {"type": "kafka-like"}}"#), .unsupported, 2, 49, "/pipeline/events/start",
      #"a transport of type "kafka-like" cannot find a position by time"#, #"use "earliest" or "latest""#),
    Case(
      "headers where the transport has none",
      ConfigurationFixture.text(
        pipeline: #"{"name": "a", "results": {"headers": true}}"#, transports: #"{"k": {"type": "kafka-like"}}"#),
      .unsupported, 2, 52, "/pipeline/results/headers", #"a transport of type "kafka-like" has no headers"#,
      #"remove "headers": every result carries its metadata in its value too"#),
    Case(
      "results into the stream of events",
      ConfigurationFixture.text(pipeline: #"{"name": "a", "results": {"streams": {"https": "events"}}}"#),
      .invalidValue, 2, 52, "/pipeline/results/streams",
      #"results would go to what is read here: the stream "events" of "local""#,
      "give each of them a stream of its own"),
  ]

  @Test("each problem is told with its place and a way out", arguments: cases)
  func diagnostic(_ one: Case) {
    #expect(ConfigurationFixture.diagnostics(one.text) == [one.expected])
  }

  @Test func everyKindOfDiagnosticIsShownHere() {
    let shown = Set(ConfigurationDiagnosticsTests.cases.map(\.expected.kind))
    // A file that cannot be read has no place: it has a test of its own.
    #expect(shown.union([.unreadable]) == Set(Diagnostic.Kind.allCases))
  }

  @Test func aFileThatIsNotThereSaysHowOneIsFound() {
    #expect(throws: ConfigurationError.self) {
      try ConfigurationFixture.loader().load(path: "elsewhere.json")
    }
    let error = #expect(throws: ConfigurationError.self) {
      try ConfigurationFixture.loader().load(path: "elsewhere.json")
    }
    #expect(error?.diagnostics.first?.kind == .unreadable)
    #expect(
      error?.description == """
        elsewhere.json: the configuration cannot be read: there is no such file
            name it with --config FILE or $DATABUS_CONFIG; without them it is ./databus.json
        """)
  }

  @Test func allProblemsComeAtOnceCausesFirst() {
    let text = ConfigurationFixture.text(
      pipeline: #"{"events": {"transport": "nowhere"}, "name": 5}"#, state: "{}",
      more: #""limits": {"dept": 5, "rules": 0}"#)
    let kinds = ConfigurationFixture.diagnostics(text).map(\.kind)
    #expect(kinds == [.unknownKey, .wrongKind, .invalidValue, .missing, .unknownReference])
  }

  @Test func aBrokenTransportIsNotAlsoUnknown() {
    let text = ConfigurationFixture.text(
      pipeline: #"{"name": "a", "events": {"transport": "local"}}"#, transports: #"{"local": {"type": "nothing"}}"#)
    #expect(ConfigurationFixture.diagnostics(text).map(\.kind) == [.unknownType])
  }

  @Test func severalTransportsMustBeNamed() {
    let two = #"{"a": {"type": "sqlite-log", "path": "a"}, "b": {"type": "sqlite-log", "path": "b"}}"#
    let found = ConfigurationFixture.diagnostics(ConfigurationFixture.text(transports: two))
    #expect(found.map(\.pointer).sorted() == ["events", "results", "rules"].map { "/pipeline/\($0)/transport" })
    #expect(found.allSatisfy { $0.hint == #"name one of: "a", "b""# })
  }

  @Test func columnsAndLinesHoldBehindAByteOrderMark() throws {
    let source = SourceText(name: "f", bytes: [0xEF, 0xBB, 0xBF] + Array("{\"x\": 1}".utf8))
    let error = #expect(throws: ConfigurationError.self) { try ConfigurationFixture.loader().load(source) }
    let unknown = try #require(error?.diagnostics.first { $0.kind == .unknownKey })
    #expect((unknown.line, unknown.column) == (1, 2))
  }

  @Test func theTextOfADiagnosticIsPlacePointerSentenceAndHint() {
    let found = ConfigurationFixture.diagnostics(ConfigurationFixture.text(more: #""limits": {"dept": 5}"#))
    #expect(
      found.map(\.description) == [
        """
        databus.json:5:14: /limits/dept: unknown key "dept"
            did you mean "depth"?
        """
      ])
    #expect(
      found.first?.json.compactText
        == #"{"kind": "unknown-key", "file": "databus.json", "line": 5, "column": 14, "pointer": "/limits/dept", "message": "unknown key \"dept\"", "hint": "did you mean \"depth\"?"}"#
    )
  }

  @Test func pointersEscapeSlashAndTilde() {
    #expect(JSONPointer().appending("a/b~c").appending(3).description == "/a~1b~0c/3")
  }
}
