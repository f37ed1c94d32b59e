import DatabusCore
import Dispatcher
import Testing

/// What is wrong between the section `dispatcher` and the streams and transports of the file.
struct DispatcherStreamDiagnosticsTests {
  typealias Case = DispatcherDiagnosticsTests.Case

  private static let two = #"{"l": {"type": "log"}, "f": {"type": "lines"}}"#
  private static func on(_ results: String) -> String {
    #"{"name": "p", "events": {"transport": "l"}, "rules": {"transport": "l"}, "results": {"transport": "\#(results)"}}"#
  }
  private static func streams(_ streams: String) -> String { #"{"name": "p", "results": {"streams": \#(streams)}}"# }

  static let cases: [Case] = [
    Case(
      "a stream that has no results", DispatcherFixture.text(#""streams": ["results-http", ▸"result-http"]"#),
      .unknownReference, "/streams/1", #"no results go to the stream "result-http""#,
      #"did you mean "results-http"?"#),
    Case(
      "a stream whose scheme has no channel",
      DispatcherFixture.text(
        #""streams": [▸"results-mqtt"]"#, pipeline: streams(#"{"https": "results-http", "mqtt": "results-mqtt"}"#)),
      .unsupported, "/streams/0",
      #"no channel delivers to "mqtt" URLs, whose results are in the stream "results-mqtt""#,
      #"those of this program deliver to "http", "https", "pigeon""#),
    Case(
      "a stream that is shared with a scheme without channel",
      DispatcherFixture.text(
        pipeline: streams(#"{"https": "results", "mqtt": "results"}"#),
        section: #"▸{"deduplication": {"type": "redis"}}"#), .unsupported, "",
      #"no channel delivers to "mqtt" URLs, whose results are in the stream "results""#,
      #"give "mqtt" a stream of its own in "pipeline.results.streams""#),
    Case(
      "a stream whose channel has no settings",
      DispatcherFixture.text(#""streams": [▸"carried"]"#, pipeline: streams(#"{"pigeon": "carried"}"#)), .unsupported,
      "/streams/0", #"no channel delivers to "pigeon" URLs, whose results are in the stream "carried""#,
      #"give it its settings: "dispatcher.channels.pigeon""#),
    Case(
      "nothing to deliver",
      DispatcherFixture.text(
        pipeline: streams(#"{"mqtt": "a", "amqp": "b"}"#), section: #"▸{"deduplication": {"type": "redis"}}"#),
      .unsupported, "",
      #"there is nothing to deliver: the results streams are for "amqp", "mqtt" URLs, to which no channel delivers"#,
      #"remove "dispatcher", or add a stream to "pipeline.results.streams""#),
    Case(
      "results in files",
      DispatcherFixture.text(
        pipeline: on("f"), transports: two, section: #"▸{"deduplication": {"type": "redis"}}"#), .unsupported, "",
      #"results and retries cannot be on "f": its type "lines" has records without keys and headers, which say what a delivery has behind it"#,
      #""l" can: write it as "pipeline.results.transport""#),
    Case(
      "all in files",
      DispatcherFixture.text(
        transports: #"{"f": {"type": "lines"}}"#, section: #"▸{"deduplication": {"type": "redis"}}"#), .unsupported, "",
      #"results and retries cannot be on "f": its type "lines" has records without keys and headers, which say what a delivery has behind it"#,
      #"give "pipeline.results.transport" one whose records have keys and headers"#),
    Case(
      "results that nobody can read",
      DispatcherFixture.text(
        pipeline: on("w"), transports: #"{"l": {"type": "log"}, "w": {"type": "write-only"}}"#,
        section: #"▸{"deduplication": {"type": "redis"}}"#), .unsupported, "",
      #"results and retries cannot be on "w": its type "write-only" only writes"#,
      #""l" can: write it as "pipeline.results.transport""#),
    Case(
      "results that can be read once",
      DispatcherFixture.text(
        pipeline: on("o"),
        transports: #"{"l": {"type": "log"}, "o": {"type": "once"}, "m": {"type": "log"}}"#,
        section: #"▸{"deduplication": {"type": "redis"}}"#), .unsupported, "",
      #"results and retries cannot be on "o": its type "once" gives each record only once, so that what was in flight at a crash is lost"#,
      #""l", "m" can: write one of them as "pipeline.results.transport""#),
    Case(
      "dead letters on a transport that is not there",
      DispatcherFixture.text(#""deadLetters": {"transport": ▸"k"}"#), .unknownReference, "/deadLetters/transport",
      #"there is no transport "k" in "transports""#, #"known here: "l""#),
    Case(
      "dead letters in files",
      DispatcherFixture.text(#""deadLetters": {"transport": ▸"f"}"#, pipeline: on("l"), transports: two), .unsupported,
      "/deadLetters/transport",
      #"dead letters cannot be on "f": its type "lines" has records without keys and headers, which say what a delivery has behind it"#,
      #""l" can: write it as "transport""#),
    Case(
      "dead letters where nothing can be written",
      DispatcherFixture.text(
        #""deadLetters": {"transport": ▸"r"}"#, pipeline: on("l"),
        transports: #"{"l": {"type": "log"}, "r": {"type": "read-only"}}"#), .unsupported, "/deadLetters/transport",
      #"dead letters cannot be on "r": its type "read-only" only reads"#, #""l" can: write it as "transport""#),
    Case(
      "dead letters into the events", DispatcherFixture.text(#""deadLetters": {"stream": ▸"events"}"#), .invalidValue,
      "/deadLetters/stream", #"the dispatcher's dead letters and events would share the stream "events" of "l""#,
      "give each of them a stream of its own"),
    Case(
      "dead letters into the router's", DispatcherFixture.text(#""deadLetters": {"stream": ▸"p-dead-letters"}"#),
      .invalidValue, "/deadLetters/stream",
      #"the dispatcher's dead letters and the router's dead letters would share the stream "p-dead-letters" of "l""#,
      "give each of them a stream of its own"),
    Case(
      "dead letters into the results", DispatcherFixture.text(#""deadLetters": {"stream": ▸"results-http"}"#),
      .invalidValue, "/deadLetters/stream",
      #"the dispatcher's dead letters and results would share the stream "results-http" of "l""#,
      "give each of them a stream of its own"),
    Case(
      "dead letters into the retries", DispatcherFixture.text(#""deadLetters": {"stream": ▸"results-http-retry-1h"}"#),
      .invalidValue, "/deadLetters/stream",
      #"the dispatcher's dead letters and retries would share the stream "results-http-retry-1h" of "l""#,
      "give each of them a stream of its own"),
    Case(
      "retries into the rules",
      DispatcherFixture.text(
        #""retry": {"tiers": ▸["5m"]}"#,
        pipeline: #"{"name": "p", "rules": {"stream": "results-http-retry-5m"}}"#), .invalidValue, "/retry/tiers",
      #"retries and rules would share the stream "results-http-retry-5m" of "l""#,
      "give the other another name: that of a retry stream follows from the results stream and the wait"),
  ]

  @Test("each problem is told with its place and a way out", arguments: cases)
  func diagnostic(_ one: Case) {
    #expect(DispatcherFixture.diagnostics(one.text) == [one.expected])
  }

  @Test func streamsOfOneNameOnTwoTransportsAreTwo() throws {
    let text = DispatcherFixture.text(
      #""deadLetters": {"transport": "m", "stream": "events"}"#, pipeline: DispatcherStreamDiagnosticsTests.on("l"),
      transports: #"{"l": {"type": "log"}, "m": {"type": "log"}}"#)
    #expect(DispatcherFixture.diagnostics(text) == [])
  }
}
