import DatabusCore
import Dispatcher

extension DatabusCommand {
  static let dlqReplay = Command(
    "replay", summary: "Put dead letters back where they came from, to be delivered after all",
    discussion: """
      The original record goes back into its results stream, with the delivery id that it had: all attempts are made anew. A running
      dispatcher takes it as any other. Mend the cause first: a delivery that fails again is a dead letter again.

      What the deduplication store says has arrived meanwhile is left out, and so is what was put back and is under way: the same
      call can be made again. --force sends it once more. A dead letter older than deduplication.ttl that the store has forgotten is refused
      without --force: it may have arrived after an earlier replay, and nobody would know. One of which only the beginning was kept
      cannot be put back at all.

      With --stream, events of the pipeline's dead letters go back into the events stream and are routed anew. Only CloudEvents (with source and id)
      give the same delivery ids as before.

      Exit code 1: something that was meant could not be put back.
      """,
    examples: [
      .init("databus dlq replay --reason exhausted --since 1d --dry-run", "What would be put back."),
      .init("databus dlq replay --dest https://hooks.example.com/ --rate 50", "50 a second."),
      .init("databus dlq replay 93a1c5d2e40f4b8697a1c5d2e40f4b86", "One of them."),
    ],
    options: [.config, DeadLetterStream.option] + DeadLetterSelection.options + [
      .value("limit", "N", kind: .integer(1...100_000_000), "Put back at most so many, the oldest first"),
      .value("rate", "N", kind: .integer(1...1_000_000), "So many a second at most"),
      .flag("dry-run", "Say what would be put back, and change nothing"),
      .flag("force", "Also what has arrived, and what is so old that nobody knows"),
    ],
    operands: [
      Operand("ID", count: .any, "Delivery ids, or stream/partition/position of dead letters; without them, all")
    ]
  ) { arguments, context in
    let selection = try DeadLetterSelection(arguments, of: "databus dlq replay", names: arguments.operands("ID"))
    let configuration = try context.configuration(arguments)
    let section = DispatcherConfiguration(configuration, registry: context.dispatcher)
    let stream = try DeadLetterStream(arguments, configuration, section)
    try stream.check(selection)
    func run(_ store: (any DeduplicationStore)?) async throws -> ExitCode {
      let access = try await PipelineAccess(configuration, context.registry, for: .tool)
      do {
        let names = Set(stream.origins.values.map(\.transport)).union([stream.reference.transport])
        let transports = try await access.transports(names)
        let replay = DeadLetterReplay(
          stream: stream, selection: selection, transports: transports, store: store, memory: section?.settings.memory,
          limit: arguments.integer("limit") ?? .max, rate: arguments.integer("rate"),
          isDry: arguments.flag("dry-run"), isForced: arguments.flag("force"), output: context.output,
          errors: context.errors)
        let code = try await replay.runAndClose()
        await access.close()
        return code
      } catch {
        await access.close()
        throw error
      }
    }
    guard stream.isDispatchers else { return try await run(nil) }
    return try await DispatcherTool.with(configuration, context) { try await run($0.store) }
  }
}
