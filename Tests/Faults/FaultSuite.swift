import Foundation
import Testing

/// Real `databus` processes on a sqlite-log and an SQLite state file, ended in every way there is, and what must hold afterwards.
///
/// One test at a time: they measure time, and two processes at once are enough for two cores.
@Suite("Faults", .serialized, .enabled(if: FaultBinary.path != nil, FaultBinary.missing))
enum FaultSuite {}

/// The programs that the suite runs.
enum FaultBinary {
  static let variable = "DATABUS_FAULTS_BINARY"

  /// The program with crash points.
  static var path: String? {
    ProcessInfo.processInfo.environment[variable].flatMap { $0.isEmpty ? nil : $0 }
  }

  static let missing: Comment = """
    DATABUS_FAULTS_BINARY names no program with crash points: DATABUS_FAULTS=1 swift build --product databus \
    --scratch-path .build-faults, then set it to .build-faults/debug/databus
    """

  /// The program as everybody else has it: built beside this test, and the release, where there is one.
  static var normalPaths: [String] {
    [normalPath] + (ProcessInfo.processInfo.environment["DATABUS_RELEASE_BINARY"].map { [$0] } ?? [])
  }

  /// The one beside this test.
  static var normalPath: String {
    var folder = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
    for argument in CommandLine.arguments where argument.hasSuffix(".xctest") {
      folder = URL(fileURLWithPath: argument).deletingLastPathComponent()
    }
    return folder.appendingPathComponent("databus").path
  }
}

/// What the harness itself could not do.
struct HarnessError: Error, CustomStringConvertible {
  var description: String
  init(_ description: String) { self.description = description }
}

/// SplitMix64: the same seed gives the same run.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var word = state
    word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
    word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
    return word ^ (word >> 31)
  }
}
