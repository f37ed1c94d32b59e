extension DatabusCommand {
  /// The program: its subcommands in the order in which help lists them.
  public static let program = Command(
    "databus", summary: "Routes events to destinations by rules that change while it runs",
    discussion: """
      Everything is described by one JSON file. Check it first; everything that is wrong is told at once.

      Exit codes: 0 done, 1 failed while it ran, 2 usage or configuration, 3 not everything was right and --strict was given.
      """,
    examples: [
      .init(
        "databus route --rules rules.jsonl < events.jsonl > results.jsonl", "Route a file, without a configuration."),
      .init("databus run --config Configs/quickstart.json", "Run a pipeline; then, in another terminal:"),
      .init("export DATABUS_CONFIG=Configs/quickstart.json", "What all other commands read."),
      .init("databus rules put rules.jsonl --wait", "Put rules; return when they are in force."),
      .init("databus events send", "Type events, one a line."),
      .init("databus tail results-http", "See what comes out."),
      .init("databus validate", "Check ./databus.json and say what would run."),
      .init("databus validate --config quickstart.json --json", "The same for scripts."),
      .init("source <(databus completion bash)", "Complete subcommands and options in this shell."),
    ],
    subcommands: [
      run, dispatch, route, rules, events, tail, topics, status, deliveries, destinations, dlq, ping, positions, state,
      receive, validate, schema, reference, completion, help, versionCommand,
    ])
}
