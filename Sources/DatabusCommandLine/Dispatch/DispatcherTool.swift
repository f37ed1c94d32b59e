import DatabusCore
import Dispatcher

/// What commands beside a dispatcher work on: its deduplication store, opened as a tool.
struct DispatcherTool: Sendable {
  let configuration: DatabusConfiguration
  let section: DispatcherConfiguration
  let store: any DeduplicationStore

  /// Opens the store of a configuration, runs `body`, and closes it.
  ///
  /// - Throws: `CommandFailure` where there is no dispatcher in the file, or its store cannot be used.
  static func with<R>(
    _ configuration: DatabusConfiguration, _ context: CommandContext, _ body: (DispatcherTool) async throws -> R
  ) async throws -> R {
    let section = try DispatcherConfiguration.required(configuration, context)
    let store: any DeduplicationStore
    do {
      store = try await OpenedDispatcher.openStore(section, configuration, context.dispatcher, .tool, .off)
    } catch let error as DeduplicationError {
      throw CommandFailure(.failed, "the deduplication store cannot be opened: \(error)")
    }
    do {
      let result = try await body(DispatcherTool(configuration: configuration, section: section, store: store))
      await store.close()
      return result
    } catch {
      await store.close()
      throw error
    }
  }
}

/// What a person says of a moment on a command line.
enum MomentArgument {
  /// Milliseconds since 1970 of "2026-11-23T01:59:12Z" or of a time ago ("2h"); nil where the option was not given.
  ///
  /// - Throws: `UsageError`.
  static func value(
    _ arguments: ParsedArguments, _ option: String, of command: String, now: Int64
  ) throws(UsageError) -> Int64? {
    guard let text = arguments.value(option) else { return nil }
    if let ago = Quantity.duration(text) { return now - ago.storedMilliseconds }
    if let moment = TimeText.milliseconds(rfc3339: text) { return moment }
    throw UsageError(
      command: command,
      problems: [
        .init(
          message: "--\(option): \"\(text)\" is no moment",
          hint: "write one like 2026-11-23T01:59:12Z, or how long ago: \"2h\"")
      ])
  }
}

extension String {
  /// A destination's URL as an operator types it: nothing that a line or a table could not show.
  ///
  /// - Parameter isShown: it may also be as a list shows it, without its query.
  /// - Throws: `CommandFailure` where nothing of this program could deliver there.
  func checkedDestination(_ context: CommandContext, isShown: Bool = false) throws(CommandFailure) -> String {
    let hint = "write the whole URL as it stands in results"
    guard utf8.count <= 8192 else {
      throw CommandFailure(.usage, "the URL is longer than 8192 bytes", hint: hint)
    }
    let url: DestinationURL
    switch DestinationURL.parse(self) {
    // It may hold a password, and is not repeated.
    case .failure(let problem): throw CommandFailure(.usage, "the URL \(problem.reason)", hint: hint)
    case .success(let found): url = found
    }
    guard context.dispatcher.channel(forScheme: url.scheme) != nil else {
      let known = context.dispatcher.channels.flatMap(\.schemes).sorted().joined(separator: ", ")
      throw CommandFailure(
        .usage, "nothing delivers to \"\(url.scheme)\" URLs", hint: "\(hint); its scheme is one of: \(known)")
    }
    if !isShown, hasSuffix("?…") {
      throw CommandFailure(.usage, "the URL ends in \"?…\": it is shown so where its query is left out", hint: hint)
    }
    return self
  }
}
