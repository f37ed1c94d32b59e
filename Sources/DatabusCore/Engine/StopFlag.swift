import Synchronization

/// A flag that is raised once, from any thread.
final class StopFlag: Sendable {
  private let flag = Atomic<Bool>(false)

  func raise() { flag.store(true, ordering: .relaxed) }
  var isRaised: Bool { flag.load(ordering: .relaxed) }
}
