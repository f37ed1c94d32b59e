import DatabusCore
import Dispatcher
import HTTPServer

#if canImport(Glibc)
  import Glibc
#endif

extension DatabusCommand {
  static let receive = Command(
    "receive", summary: "Receive webhooks and show them, for trying things out",
    discussion: """
      Answers every HTTP request with 200, or as it is told to, and shows each on a line as it comes: its webhook-id and how
      often that has come, the verdict on its signature, the answer and the body. Until Ctrl-C, or --count requests. The
      first line on standard error names the address and port; the last one the sums.

      What the options from --status to --body say for all requests, the query of a request's own URL says for that one, by the
      same names, so that one receiver plays several destinations: /hook?status=429&retry-after=2, /slow?hang=30s,
      /shaky?fail=3. --fail and --fail-rate say which requests the others are for; the rest are answered with 200 at once.

      With --secret, requests are verified as Standard Webhooks says, and those that are not genuine answered with 401.
      Several secrets are all accepted. A command line can be read by other users of the machine: give no secret that matters.

      --json: one object a line with time, method, target, id, seen (how often the id has come), duplicate (it had been
      answered with 2xx before), signature (good, wrong, missing, malformed, old or unchecked), signatureProblem, status
      (null: closed without an answer), answer, headers and body; a body that is not UTF-8 stands in "bodyBase64".

      GET /_stats answers the sums as JSON: requests, deliveries (different ids), repeats, duplicates, withoutID, badSignatures,
      and forgetsIDs, true once so many ids have come (a million at least) that the oldest are no longer known.
      """,
    examples: [
      .init("databus receive", "Show what is sent to http://127.0.0.1:8080/ on any path."),
      .init("databus receive --secret whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "Verify signatures."),
      .init("databus receive --port 0 --status 429 --retry-after 2s", "On a free port, ask everybody for patience."),
      .init("databus receive --fail 3", "Answer the first three requests of each delivery with 503."),
      .init("databus receive --count 1 --json | jq -r .body", "The body of one request."),
      .init("curl -d hello '127.0.0.1:8080/hook?hang=5s&status=500'", "In another terminal: one that ends badly."),
      .init("curl -s 127.0.0.1:8080/_stats", "The sums so far."),
    ],
    options: [
      .value("port", "N", short: "p", kind: .integer(0...65_535), "The port to listen on; 0 takes a free one (8080)"),
      .value("address", "ADDRESS", "The address to listen on; 0.0.0.0 or :: for all (127.0.0.1)"),
      .value("secret", "SECRET", repeatable: true, "A signing secret, whsec_...: signatures are verified"),
      .value("status", "N", kind: .integer(200...599), "What is answered (200; 503 with --fail or --fail-rate)"),
      .value("fail", "N", kind: .integer(0...1_000_000), "Misbehave only for the first N requests of each webhook-id"),
      .value("fail-rate", "PERCENT", kind: .integer(0...100), "Misbehave only for so many of 100 requests, by chance"),
      .value("retry-after", "TIME", "The answer's Retry-After: a duration, or any text as it is"),
      .value("location", "URL", "The answer's Location, for a redirection"),
      .value("hang", "TIME", kind: .duration, "Answer only after so long"),
      .value("drip", "TIME", kind: .duration, "Send the body one byte at a time with this pause between"),
      .flag("endless", "Send a body without end"), .flag("close", "Close the connection without an answer"),
      .value("body", "TEXT", "The answer's body"),
      .value("count", "N", short: "n", kind: .integer(1...Int.max), "End after so many requests"),
      .value("maximum-body", "SIZE", kind: .size, "A larger request is answered with 413 (1MiB)"),
      .value("connections", "N", kind: .integer(1...65_536), "Connections at a time; further ones wait (2048)"),
      .flag("quiet", short: "q", "Show no requests and no sums"), .json,
    ], handlesSignals: true
  ) { arguments, context in
    let isJSON = arguments.flag("json")
    let isQuiet = arguments.flag("quiet")
    let log = Logger(part: "receive", sink: context.logSink)
    let (ends, end) = AsyncStream.makeStream(of: Receiver.End?.self)
    let receiver = Receiver(
      Receiver.Parts(
        behavior: try behavior(arguments), signature: try signature(arguments.values("secret")),
        format: isQuiet
          ? nil
          : ReceivedFormat(isJSON: isJSON, width: context.terminal.width, color: context.terminal.allowsColor),
        output: context.output, log: log, limit: arguments.integer("count"), end: { end.yield($0) }))
    let server = try listen(arguments, log, receiver)
    let address = arguments.value("address") ?? "127.0.0.1"
    let host = address.utf8.contains(UInt8(ascii: ":")) ? "[\(address)]" : address
    log.info(
      "webhooks are received", at: "http://\(host):\(server.port)/",
      [LogField("port", server.port), LogField("stats", Receiver.sumsPath)])
    let interruption = Task {
      for await _ in context.signals.stream { end.yield(nil) }
    }
    defer { interruption.cancel() }
    var iterator = ends.makeAsyncIterator()
    let reason = await iterator.next()
    await server.stop()
    if case .output(let error)?? = reason { throw error }
    if !isQuiet { log.info("the receiver has ended", receiver.sums.all.map { LogField($0.name, $0.value) }) }
    return .done
  }

  private static func behavior(_ arguments: ParsedArguments) throws -> ReceiverBehavior {
    var behavior = ReceiverBehavior()
    if arguments.value("fail") != nil, arguments.value("fail-rate") != nil {
      throw CommandFailure(.usage, "--fail and --fail-rate exclude each other", hint: "give one of them")
    }
    do throws(ReceiverBehavior.Problem) {
      for setting in ReceiverBehavior.Setting.allCases {
        if setting.isFlag {
          if arguments.flag(setting.rawValue) { try behavior.set(setting, "") }
        } else if let value = arguments.value(setting.rawValue) {
          try behavior.set(setting, value)
        }
      }
    } catch {
      throw CommandFailure(.usage, "--\(error.message)", hint: "'databus receive --help' shows how it is used")
    }
    return behavior
  }

  private static func signature(_ secrets: [String]) throws -> WebhookSignature? {
    if secrets.isEmpty { return nil }
    do throws(WebhookSignature.SecretProblem) {
      return try WebhookSignature(secrets: secrets)
    } catch {
      let which = secrets.count == 1 ? "--secret" : "--secret number \(error.index + 1)"
      throw CommandFailure(.usage, "\(which) \(error.description)")
    }
  }

  private static func listen(_ arguments: ParsedArguments, _ log: Logger, _ receiver: Receiver) throws -> HTTPServer {
    let wanted = arguments.integer("connections") ?? 2048
    let connections = OpenFiles.allow(connections: wanted)
    if connections < wanted {
      log.warning(
        "there can be only \(connections) connections at a time", at: "--connections \(wanted)",
        remedy: "raise the limit of open files: ulimit -Hn")
    }
    let address = arguments.value("address") ?? "127.0.0.1"
    do throws(HTTPServerError) {
      return try HTTPServer(
        HTTPServer.Configuration(
          address: address == "localhost" ? "127.0.0.1" : address, port: arguments.integer("port") ?? 8080,
          // For each request the library clears twice the memory of a head: more than this would be felt.
          name: "databus-receive", maximumConnections: connections, maximumHeadBytes: 8 << 10,
          maximumBodyBytes: arguments.size("maximum-body") ?? 1 << 20,
          // A sender's connection may be idle for a while before it is used again.
          transferTimeout: .seconds(60), answerTimeout: ReceiverBehavior.longestWait + .seconds(60),
          headerNames: receiver.headerNames),
        handler: { receiver.take($0, $1) })
    } catch {
      let hint =
        switch error.kind {
        case .addressInUse: "end that program, or choose another --port; 0 takes a free one"
        case .addressUnknown: "choose an --address that this machine has: 127.0.0.1, or 0.0.0.0 for all"
        case .notPermitted: "choose a --port of 1024 or more"
        case .other: "look at --address and --port"
        }
      throw CommandFailure(.failed, error.message, hint: hint)
    }
  }
}
