import Foundation
import Testing

#if canImport(Glibc)
  import Glibc
#endif

extension FaultSuite {
  @Suite("A full disk")
  struct DiskFullTests {
    /// A disk of a few MiB is a tmpfs of its own, which not everybody may mount.
    static let canMount: Bool = {
      guard let folder = try? makeFolder() else { return false }
      defer { rmdir(folder) }
      guard mount("tmpfs", folder, "tmpfs", 0, "size=1048576") == 0 else { return false }
      return umount(folder) == 0
    }()

    private static func makeFolder() throws -> String {
      let folder = FileManager.default.temporaryDirectory.appendingPathComponent("databus-disk-" + UUID().uuidString)
        .path
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
      return folder
    }

    private static func withSmallDisk<R>(_ bytes: Int, _ body: (String) async throws -> R) async throws -> R {
      let folder = try makeFolder()
      defer { rmdir(folder) }
      guard mount("tmpfs", folder, "tmpfs", 0, "size=\(bytes)") == 0 else { throw HarnessError("mount failed") }
      defer { umount2(folder, Int32(MNT_DETACH)) }
      return try await body(folder)
    }

    /// Takes all room that is left, but for `rest` bytes.
    private static func fill(_ folder: String, leaving rest: Int) throws {
      var status = statvfs()
      guard statvfs(folder, &status) == 0 else { throw HarnessError("\(folder) has no free room to ask for") }
      let free = Int(status.f_bavail) * Int(status.f_frsize)
      try Data(count: max(0, free - rest)).write(to: URL(fileURLWithPath: folder + "/ballast"))
    }

    private static func makeRoom(_ folder: String) throws {
      try FileManager.default.removeItem(atPath: folder + "/ballast")
    }

    @Test(
      "Under the state: it is said with the file's name, intake stops, and all goes on when there is room again",
      .enabled(if: canMount, "mounting a small disk is not allowed here"))
    func state() async throws {
      try await Self.withSmallDisk(4 << 20) { disk in
        try await Workbench.with(.init(checkpointInterval: "20ms", stateFolder: disk)) { bench in
          try await bench.append(ModelRule.usual)
          var sent = try await bench.append(ModelEvent.some(500, seed: 51))
          let process = try bench.start()
          try await process.wait("its first commit") { try await bench.committed() == 501 }
          try Self.fill(disk, leaving: 0)
          for round in 1...40 where !process.errors.contains("no room") {
            sent += try await bench.append(ModelEvent.some(500, from: round * 500, seed: 52))
            try await process.wait("results or a complaint") {
              process.errors.contains("no room") || bench.gauge.read == UInt64(sent.count + 1)
            }
          }
          try await process.wait("the complaint", within: .seconds(20)) { process.errors.contains("no room") }
          #expect(process.errors.contains(disk + "/state.db"))
          try Self.makeRoom(disk)
          try await process.wait("all of it") { try await bench.committed() == UInt64(sent.count + 1) }
          process.signal(SIGTERM)
          #expect(try await process.end() == .exited(0), "\(process.errors)")
          let report = try await bench.check(sent, ModelRule.usual)
          #expect(report.isClean, "\(report.summary)")
        }
      }
    }

    @Test(
      "Under the log: results wait, nothing is lost, and killed in that state it goes on when there is room again",
      .enabled(if: canMount, "mounting a small disk is not allowed here"))
    func log() async throws {
      try await Self.withSmallDisk(12 << 20) { disk in
        try await Workbench.with(.init(checkpointInterval: "20ms", logFolder: disk)) { bench in
          try await bench.append(ModelRule.usual)
          let sent = try await bench.append(ModelEvent.some(10_000, seed: 53))
          try Self.fill(disk, leaving: 64 << 10)
          for end in [SIGKILL, SIGTERM] {
            let process = try bench.start("--drain", "1s")
            try await process.wait("the complaint", within: .seconds(30)) { process.errors.contains("no room") }
            #expect(process.errors.contains("log.db"))
            process.signal(end)
            _ = try await process.end()
          }
          try Self.makeRoom(disk)
          try await bench.finish()
          let report = try await bench.check(sent, ModelRule.usual)
          #expect(report.isClean, "\(report.summary)")
        }
      }
    }

    @Test("A limit on the size of files: the process says what is wrong, and without the limit it goes on")
    func fileSize() async throws {
      try await Workbench.with(.init(checkpointInterval: "20ms")) { bench in
        try await bench.append(ModelRule.usual)
        let sent = try await bench.append(ModelEvent.some(20_000, seed: 54))
        // In blocks of 512 bytes; the log's own log of changes is smaller when the test has closed it.
        let process = try bench.start("--drain", "1s", shell: "trap '' XFSZ; ulimit -f 2000")
        try await process.wait("the complaint", within: .seconds(30)) { process.errors.contains("log.db") }
        process.signal(SIGKILL)
        _ = try await process.end()
        try await bench.finish()
        let report = try await bench.check(sent, ModelRule.usual)
        #expect(report.isClean, "\(report.summary)")
      }
    }
  }
}
