import DatabusCore
import MemoryState
import MemoryTransport

// The engine in a program of one's own: one rule, one event, one result, all in memory.
let memory = MemoryTransport()
for stream in ["events", "rules", "results-https"] { try await memory.createTopic(stream, partitions: 1) }
try memory.append(
  to: "rules",
  #"{"ruleId": "r", "events": ["user:*"], "destinationUrl": "https://foo.bar/baz", "transforms": [], "filters": []}"#)
try memory.append(to: "events", #"{"type": "user:signup", "data": {"userId": 123}}"#)

let pipeline = Pipeline(
  .init(
    configuration: PipelineConfiguration(
      name: "minimal", events: EventsConfiguration(StreamReference(transport: "memory", stream: "events")),
      rules: RulesConfiguration(StreamReference(transport: "memory", stream: "rules")),
      results: ResultsConfiguration(transport: "memory", streams: ["https": "results-https"])),
    transports: ["memory": memory], state: MemoryState(), stopsWhenIdle: true))
try await pipeline.run()

for record in memory.records(of: "results-https") { print(String(decoding: record.value ?? [], as: UTF8.self)) }
