import Foundation
import Testing

/// Where dispatchers are and go on, beside the pipeline: `status`, `positions show` and `positions set --stream`.
@Suite("positions of a dispatcher", .serialized)
struct DispatchPositionsTests {
  @Test("status and positions show its processes and its streams behind the pipeline's")
  func shown() async throws {
    try await DispatchBench.with([]) { bench in
      let databus = bench.databus
      func dispatcher() async throws -> [String: Any] {
        let status = try await databus.run("status", "--json")
        #expect(status.code == 0, "\(status.errors)")
        let whole = try #require(try JSONSerialization.jsonObject(with: Data(status.output.utf8)) as? [String: Any])
        return try #require(whole["dispatcher"] as? [String: Any])
      }
      try await bench.put("a", bench.address + "/a")
      #expect((try await dispatcher()["partitions"] as? [Any])?.isEmpty == true)
      let before = try await databus.run("status")
      #expect(before.code == 0 && before.output.contains("No dispatcher of \"p\" runs."), "\(before.output)")
      try await bench.route(3)
      let routed = try #require((try await dispatcher()["partitions"] as? [[String: Any]])?.first)
      #expect(routed["stream"] as? String == "results-http" && routed["lag"] as? Int == 3, "\(routed)")
      #expect(routed["position"] is NSNull)
      try await bench.deliver()
      let delivered = try #require((try await dispatcher()["partitions"] as? [[String: Any]])?.first)
      #expect(delivered["lag"] as? Int == 0 && delivered["position"] as? Int == 4, "\(delivered)")
      let positions = try await databus.run("positions", "show", "--json")
      let list = try #require(
        try JSONSerialization.jsonObject(with: Data(positions.output.utf8)) as? [[String: Any]])
      #expect(list.prefix(2).map { $0["stream"] as? String } == ["events", "results-http"], "\(positions.output)")
      #expect(list.prefix(2).map { $0["committed"] as? Int } == [4, 4], "\(positions.output)")

      let run = try databus.start(["run", "--with-dispatcher"])
      defer { run.signal(SIGKILL) }
      try await bench.until("it is seen") {
        (try await dispatcher()["processes"] as? [[String: Any]])?.first?["pid"] as? Int32 == run.processID
      }
      let text = try await databus.run("status").output
      #expect(text.contains("DISPATCHER") && text.contains("results-http/0"), "\(text)")
      let refused = try await databus.run("positions", "set", "0", "earliest", "--stream", "results-http")
      #expect(refused.code == 1, "\(refused.output)")
      #expect(
        refused.errors.contains("process \(run.processID)") && refused.errors.contains("delivers for this pipeline"))
      #expect(try await run.terminate().code == 0)
    }
  }

  @Test("it is set back as far as deliveries are remembered, and further only by force and with a warning")
  func setBack() async throws {
    try await DispatchBench.with([]) { bench in
      let databus = bench.databus
      func set(_ words: String...) async throws -> DatabusProcess.Result {
        try await databus.run(["positions", "set"] + words + ["--stream", "results-http"])
      }
      try await bench.put("a", bench.address + "/a")
      let early = try await set("0", "earliest")
      #expect(early.code == 2 && early.errors.contains("it has not come into being yet"), "\(early.errors)")
      try await bench.sendAndDeliver(2)
      let young = try await set("0", "earliest")
      #expect(young.code == 0 && young.output == "results-http/0: the dispatcher goes on at 1\n", "\(young.errors)")
      #expect(!(try await bench.deliver().errors.contains("are not recognised")))
      #expect(try await bench.receiver.sums()["requests"] == 2)

      try bench.age("results-http")
      let old = try await set("0", "earliest")
      #expect(old.code == 1 && old.errors.contains("older than deduplication.ttl (1d)"), "\(old.errors)")
      #expect(old.errors.contains("set it to 3 or later, or send them again with --force"), "\(old.errors)")
      #expect(try await set("0", "latest").code == 0)
      #expect(try await set("0", "1", "--force").code == 0)
      let warned = try await bench.deliver().errors
      #expect(warned.contains("what has arrived is remembered for 1d"), "\(warned)")
      #expect(try await bench.receiver.sums()["requests"] == 2, "its file remembers them still")

      #expect(try await set("7", "earliest").errors.contains("there are: 0"))
      #expect(try await set("0", "99").code == 2)
      let unknown = try await databus.run("positions", "set", "0", "latest", "--stream", "results-htpp")
      #expect(unknown.code == 2 && unknown.errors.contains("did you mean \"results-http\"?"), "\(unknown.errors)")
      let events = try await databus.run("positions", "set", "0", "latest", "--stream", "events")
      #expect(events.output == "events/0: the pipeline goes on at 3\n", "\(events.errors)")
    }
  }
}
