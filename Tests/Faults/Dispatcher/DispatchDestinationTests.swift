import Foundation
import Testing

#if canImport(Glibc)
  import Glibc
#endif

extension FaultSuite {
  @Suite("Destinations that misbehave")
  struct DispatchDestinationTests {
    @Test("An answer that does not come: the attempt ends before its lease, and no two go on at a time")
    func hangs() async throws {
      var options = DispatchBench.Options(delivery: ["timeout": "500ms"])
      options.retry = ["base": "1ms", "cap": "1ms", "attempts": 3]
      try await DispatchBench.with(.redis, options) { desk in
        try await desk.send(0..<6) { _ in "never?hang=20s" }
        try await desk.finish()
        for (id, all) in Dictionary(grouping: try desk.receiver.arrivals(), by: \.id) {
          #expect(all.count == 3, "\(id)")
          // The attempt's time runs since its claim, which is a little before the request arrives.
          for (first, second) in zip(all, all.dropFirst()) { #expect(second.time - first.time >= 300, "\(id)") }
        }
        let letters = try await desk.deadLetters()
        #expect(letters.count == 6)
        #expect(letters.allSatisfy { $0.headers["dx-reason"] == "exhausted" })
      }
    }

    @Test("One hangs: the others have all that is theirs meanwhile, and positions go on")
    func oneHangs() async throws {
      var options = DispatchBench.Options(delivery: ["timeout": "20s"])
      options.retry = ["inMemory": "1s", "tiers": ["2s", "1h"]]
      try await DispatchBench.with(.sqlite, options) { desk in
        try await desk.send(0..<400) { $0 % 2 == 0 ? "hang?hang=15s" : "d\($0 % 8)" }
        let process = try desk.start()
        try await process.wait("what is for the others", within: .seconds(14)) {
          try desk.receiver.arrivals().count { !$0.target.contains("hang") } == 200
        }
        // All but the four that are under way stand in a retry stream by then.
        try await process.wait("what waits being set aside") {
          try await desk.bench.end(of: "results-http-retry-2s") > 190
        }
        let hanging = try desk.receiver.arrivals().count { $0.target.contains("hang") }
        #expect(hanging <= 8)
        process.signal(SIGKILL)
        _ = try await process.end()
      }
    }

    @Test("One that always answers 500: positions go on, and each delivery has one dead letter")
    func alwaysFails() async throws {
      var options = DispatchBench.Options()
      options.retry = ["inMemory": "0s", "base": "500ms", "cap": "1s", "tiers": ["1s"], "attempts": 3]
      try await DispatchBench.with(.redis, options) { desk in
        try await desk.send(0..<50) { _ in "down?status=500" }
        try await desk.finish()
        #expect(try await desk.committed() == desk.end())
        let letters = try await desk.deadLetters()
        #expect(letters.count == 50)
        #expect(Set(letters.compactMap { $0.headers["dx-id"] }).count == 50)
        #expect(letters.allSatisfy { $0.headers["dx-status"] == "500" && $0.headers["dx-attempts"] == "3" })
        #expect(try desk.receiver.arrivals().count == 150)
      }
    }

    @Test("Killed while deliveries wait for their next attempt: none is made early", arguments: ["30s", "1s"])
    func midBackoff(_ inMemory: String) async throws {
      var options = DispatchBench.Options()
      options.retry = ["inMemory": inMemory, "tiers": inMemory == "30s" ? ["1m"] : ["2s"]]
      try await DispatchBench.with(.redis, options) { desk in
        try await desk.send(0..<1) { _ in "later?fail=1&retry-after=5s" }
        let process = try desk.start()
        try await process.wait("the first attempt") { try desk.receiver.arrivals().count == 1 }
        // Its end is in the store by then: the answer was there at once.
        try await Task.sleep(for: .milliseconds(700))
        process.signal(SIGKILL)
        _ = try await process.end()
        try await desk.finish()
        let arrivals = try desk.receiver.arrivals()
        #expect(arrivals.count == 2)
        #expect(arrivals[1].time - arrivals[0].time >= 4900)
      }
    }

    @Test("Retry-After in seconds, as a date, huge, and as nonsense")
    func retryAfter() async throws {
      var options = DispatchBench.Options()
      options.retry = ["base": "1ms", "cap": "1ms", "retryAfterCap": "3s"]
      try await DispatchBench.with(.sqlite, options) { desk in
        let formatter = DateFormatter()
        formatter.locale = Locale(identifier: "en_US_POSIX")
        formatter.timeZone = TimeZone(identifier: "UTC")
        formatter.dateFormat = "EEE, dd MMM yyyy HH:mm:ss 'GMT'"
        let date = formatter.string(from: Date(timeIntervalSinceNow: 3)).replacingOccurrences(of: " ", with: "%20")
        let values = ["2", date, "99999999", "soon", "-5", "99999999999999999999999999"]
        try await desk.send(0..<values.count) { "r\($0)?fail=1&status=503&retry-after=\(values[$0])" }
        try await desk.finish()
        let arrivals = Dictionary(grouping: try desk.receiver.arrivals()) { $0.number ?? -1 }
        func gap(_ number: Int) throws -> Int64 {
          let all = try #require(arrivals[number])
          #expect(all.count == 2, "\(values[number])")
          return all.count == 2 ? all[1].time - all[0].time : -1
        }
        #expect(try gap(0) >= 2000)
        // Dates have whole seconds, and some of the time has passed at the first attempt.
        #expect(try gap(1) >= 1)
        #expect(try gap(2) >= 3000)
        for number in 3..<values.count { #expect(try gap(number) >= 0) }
      }
    }

    @Test("Bodies that drip or never end, and connections that are cut: bounded in time and memory")
    func badAnswers() async throws {
      let kinds = ["drip?drip=200ms&body=0123456789abcdef", "endless?endless", "cut?close"]
      var options = DispatchBench.Options()
      options.retry = ["base": "1ms", "cap": "1ms", "attempts": 2]
      try await DispatchBench.with(.redis, options) { desk in
        try await desk.send(0..<30) { kinds[$0 % 3] }
        let process = try desk.start()
        try await process.wait("the end of all") { try await desk.committed() == desk.end() }
        let status = try String(contentsOfFile: "/proc/\(process.id)/status", encoding: .utf8)
        let peak = status.split(separator: "\n").first { $0.hasPrefix("VmHWM") }.map { $0.filter(\.isNumber) }
        #expect(try #require(peak.flatMap { Int($0) }) < 200 << 10)
        process.signal(SIGTERM)
        #expect(try await process.end() == .exited(0))
        let letters = Dictionary(grouping: try await desk.deadLetters()) { $0.headers["dx-dest"] ?? "" }
        let counts = kinds.map { kind in
          letters.filter { $0.key.contains(kind.prefix { $0 != "?" }) }.reduce(0) { $0 + $1.value.count }
        }
        // What has answered 200 has arrived, whatever its body is.
        #expect(counts == [10, 0, 10], "\(counts)")
      }
    }

    @Test("At most once: cut without an answer is a dead letter, and is not sent again")
    func ambiguous() async throws {
      try await DispatchBench.with(.sqlite, .init(delivery: ["mode": "at-most-once"])) { desk in
        try await desk.send(0..<5) { _ in "cut?close" }
        try await desk.finish()
        #expect(try desk.receiver.arrivals().count == 5)
        let letters = try await desk.deadLetters()
        #expect(letters.map { $0.headers["dx-reason"] } == Array(repeating: "ambiguous", count: 5))
      }
    }

    @Test("Addresses that nothing may be sent to, in every notation, and a redirect to one: no request comes")
    func deniedAddresses() async throws {
      try await FaultReceiver.with { secret in
        var options = DispatchBench.Options()
        options.members["channels"] = ["http": ["allow": ["127.0.0.1/32"]]]
        options.retry = ["attempts": 1]
        try await DispatchBench.with(.sqlite, options) { desk in
          let hosts = [
            "127.0.0.2", "2130706434", "0x7f000002", "0177.0.0.2", "127.2", "[::ffff:127.0.0.2]", "[::1]", "0", "[::]",
            "[64:ff9b::7f00:2]", "[2002:7f00:2::]", "169.254.169.254", "[::ffff:a9fe:a9fe]",
          ]
          let redirect = "redirect?status=302&location=http://127.0.0.2:\(secret.port)/stolen"
          let values = hosts.enumerated().map { index, host in
            "{\"destination\":\"http://\(host):\(secret.port)/\",\"payload\":{\"number\":\(index)},\"id\":\"\(DispatchBench.id(index))\"}"
          }
          try await desk.bench.append(values.map { Array($0.utf8) }, to: Workbench.results)
          try await desk.send(hosts.count..<hosts.count + 1) { _ in redirect }
          try await desk.finish()
          #expect(try secret.arrivals().isEmpty)
          #expect(try desk.receiver.arrivals().count == 1)
          let letters = try await desk.deadLetters()
          #expect(letters.count == hosts.count + 1)
          let reasons = letters.filter { $0.headers["dx-id"] != DispatchBench.id(hosts.count) }.map {
            "\($0.headers["dx-reason"] ?? "") \($0.headers["dx-dest"] ?? "")"
          }
          #expect(reasons.allSatisfy { $0.hasPrefix("ssrf_denied") || $0.hasPrefix("bad_url") }, "\(reasons)")
        }
      }
    }

    @Test("A secret is replaced under load: every request verifies with the key that its receiver has")
    func rotation() async throws {
      let old = "whsec_b2xkLW9sZC1vbGQtb2xkLW9sZC1vbGQtb2xkLW9sZA=="
      let new = "whsec_bmV3LW5ldy1uZXctbmV3LW5ldy1uZXctbmV3LW5ldw=="
      try await FaultReceiver.with("--secret", old) { first in
        try await FaultReceiver.with("--secret", new) { second in
          try await Workbench.with { bench in
            var total = 0
            for (index, (keys, receivers)) in [([old], [first]), ([new, old], [first, second]), ([new], [second])]
              .enumerated()
            {
              var options = DispatchBench.Options(delivery: ["secret": "key"])
              options.members["secrets"] = [
                "key": ["values": keys, "urls": [first.url(""), second.url("")]]
              ]
              var whole = Workbench.Options()
              whole.sections["dispatcher"] = DispatchBench.section(
                ["type": "sqlite", "path": "deduplication.db"], options)
              try bench.configure("phase\(index).json", whole, state: "state.db")
              let values = receivers.flatMap { receiver in
                (0..<100).map { number in
                  "{\"destination\":\"\(receiver.url("d"))\",\"payload\":{\"number\":\(total + number)}}"
                }
              }
              total += values.count
              let process = try bench.start([], command: ["dispatch"], configuration: "phase\(index).json")
              try await bench.append(values.map { Array($0.utf8) }, to: Workbench.results)
              try await process.wait("all of them") {
                try first.arrivals().count + second.arrivals().count >= total
              }
              process.signal(SIGTERM)
              #expect(try await process.end() == .exited(0))
            }
            let all = try first.arrivals() + second.arrivals()
            #expect(all.count == 400)
            #expect(all.allSatisfy { $0.signature == "good" && $0.status == 200 })
          }
        }
      }
    }
  }
}
