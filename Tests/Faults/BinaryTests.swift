import Foundation
import Testing

extension FaultSuite {
  @Suite("The program that everybody runs")
  struct BinaryTests {
    /// Everything that a process under test can be told by.
    static let names = [
      "DATABUS_CRASH_AT", "DATABUS_DEFECT", "DATABUS_OPEN_SLOTS", "sent-and-unconfirmed", "confirmed-and-not-applied",
      "applied-and-not-committed", "during-restore", "commit-highest", "crash point",
      "before-claim", "claimed-and-not-sent", "sent-and-not-judged", "delivered-and-not-settled",
      "settled-and-not-passed", "stored-and-not-settled", "dead-and-not-settled", "skip-done-mark", "short-lease",
    ]

    static func contains(_ name: String, _ program: Data) -> Bool { program.range(of: Data(name.utf8)) != nil }

    @Test("knows no crash point, no defect and none of their environment variables", arguments: names)
    func normalProgramKnowsNothing(_ name: String) throws {
      for path in FaultBinary.normalPaths {
        let normal = try Data(contentsOf: URL(fileURLWithPath: path), options: .mappedIfSafe)
        #expect(Self.contains("databus run", normal), "\(path) is not the program")
        #expect(!Self.contains(name, normal), "\(path)")
      }
      // The search can find it.
      let armed = try Data(contentsOf: URL(fileURLWithPath: try #require(FaultBinary.path)), options: .mappedIfSafe)
      #expect(Self.contains(name, armed))
    }
  }
}
