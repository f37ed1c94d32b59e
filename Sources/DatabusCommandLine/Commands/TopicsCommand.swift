import DatabusCore

extension DatabusCommand {
  static let topics = Command(
    "topics", summary: "List, create and delete streams",
    examples: [.init("databus topics list", "All streams of the configuration's transports.")],
    subcommands: [topicsList, topicsCreate, topicsDelete])

  private static let transportOption = Option.value(
    "transport", "NAME", "The transport's name in the configuration; needed where there are several")

  private static let topicsList = Command(
    "list", summary: "Show the streams of the configuration's transports",
    examples: [
      .init("databus topics list", "A table."),
      .init("databus topics list --transport local --json | jq .name", "One transport; one object a line."),
    ], options: [.config, transportOption, .json]
  ) { arguments, context in
    try await PipelineAccess.withTool(arguments, context) { access in
      let names = arguments.value("transport").map { [$0] } ?? access.configuration.transports.map(\.name)
      var table = Table([
        ("STREAM", .left), ("TRANSPORT", .left), ("PARTITION", .right), ("FIRST", .right), ("END", .right),
        ("RECORDS UP TO", .right),
      ])
      for name in names {
        do {
          let topics = try await access.withTransport(name) { try await $0.topics() }
          for topic in topics.sorted(by: { $0.name < $1.name }) {
            if arguments.flag("json") {
              try context.output.write(json(topic, name) + "\n")
              continue
            }
            for (partition, bounds) in zip(topic.partitions, topic.bounds) {
              table.add([
                topic.name, name, String(partition.index), String(bounds.first.next), String(bounds.end.next),
                String(bounds.end.next - min(bounds.first.next, bounds.end.next)),
              ])
            }
          }
        } catch let error as TransportError {
          if names.count == 1 { throw error }
          try context.errors.write("\(name): \(error.message)\n")
        }
      }
      if !arguments.flag("json") { try context.output.write(table.text(width: context.terminal.width)) }
      return .done
    }
  }

  private static func json(_ topic: TopicDescription, _ transport: String) -> String {
    JSONValue(members: [
      ("name", JSONValue(.string(topic.name))), ("transport", JSONValue(.string(transport))),
      (
        "partitions",
        JSONValue(
          .array(
            zip(topic.partitions, topic.bounds).map { partition, bounds in
              JSONValue(members: [
                ("partition", JSONValue(integerLiteral: partition.index)),
                ("first", JSONValue(.number(String(bounds.first.next)))),
                ("end", JSONValue(.number(String(bounds.end.next)))),
                ("truncated", JSONValue(.bool(bounds.isTruncated))),
              ])
            }))
      ),
    ]).compactText
  }

  private static let topicsCreate = Command(
    "create", summary: "Create a stream",
    discussion: "Streams are made at their first use with one partition; this makes one with more, or ahead of time.",
    examples: [.init("databus topics create events --partitions 8", "Eight partitions.")],
    options: [
      .config, transportOption, .value("partitions", "N", kind: .integer(1...1_000_000), "How many (1)"),
    ], operands: [Operand("STREAM", "The stream's name")]
  ) { arguments, context in
    try await PipelineAccess.withTool(arguments, context) { access in
      let stream = arguments.operand("STREAM") ?? ""
      let name = try onlyTransport(arguments, access)
      let partitions = arguments.integer("partitions") ?? 1
      try await access.withTransport(name) { try await $0.createTopic(stream, partitions: partitions) }
      try context.output.write(
        "\(Terminal.printable(stream)): created with \(partitions) partition\(partitions == 1 ? "" : "s")\n")
      return .done
    }
  }

  private static let topicsDelete = Command(
    "delete", summary: "Delete a stream with everything in it",
    discussion: "Its records, groups and positions are gone. A stream of the same name made later is another one.",
    examples: [.init("databus topics delete old-events --transport local", "There is no question asked.")],
    options: [.config, transportOption], operands: [Operand("STREAM", "The stream's name")]
  ) { arguments, context in
    try await PipelineAccess.withTool(arguments, context) { access in
      let stream = arguments.operand("STREAM") ?? ""
      let name = try onlyTransport(arguments, access)
      try await access.withTransport(name) { try await $0.deleteTopic(stream) }
      try context.output.write("\(Terminal.printable(stream)): deleted\n")
      return .done
    }
  }

  private static func onlyTransport(_ arguments: ParsedArguments, _ access: PipelineAccess) throws -> String {
    if let name = arguments.value("transport") { return name }
    let names = access.configuration.transports.map(\.name)
    if let only = names.first, names.count == 1 { return only }
    throw CommandFailure(
      .usage, "there are several transports",
      hint: "choose one: " + names.map { "--transport \($0)" }.joined(separator: ", "))
  }
}
