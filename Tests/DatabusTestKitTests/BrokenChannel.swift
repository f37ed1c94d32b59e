import DatabusTestKit
import Dispatcher
import Synchronization

/// One thing that a delivery channel does wrong, and the case that must find it. Others may find it too.
enum ChannelDefect: String, CaseIterable, Sendable {
  case sendsTheWholeRecord = "the receiver gets the payload's bytes and the id"
  case makesNewIDs = "a delivery that is tried again has the same id"
  case endsTwice = "each attempt ends once"
  case mixesUpBytes = "a thousand attempts at once"
  case losesSingleOnes = "attempts are started from several threads"
  case saysNothing = "an outcome says what happened"
  case tellsQueries = "a destination is one, however often it is looked at"
  case takesEverything = "what can never be a destination is refused"
  case givesUpAtOnce = "a destination that is away may be tried again"
  case givesUpInHaste = "an attempt with hardly any time ends"
  case isLate = "an attempt that hangs ends by its deadline"
  case waitsForNobody = "a destination that hangs keeps no other waiting"
  case forgetsAtClose = "close ends what is under way"
  case goesOnAfterClose = "after close nothing is told"
}

/// A sound channel into memory, `memory://box`, with one defect put into it. `memory://away` is not there, `memory://hang` never answers.
final class BrokenChannel: DeliveryChannel {
  private struct Open {
    var number: UInt64
    var port: any AttemptPort
    var task: Task<Void, Never>?
  }
  private struct State {
    var isClosed = false
    var last = 0
    var open: [Int: Open] = [:]
  }
  private let defect: ChannelDefect?
  private let state = Mutex(State())
  let box = Mutex<[ReceivedDelivery]>([])

  init(_ defect: ChannelDefect?) { self.defect = defect }

  /// A subject with a defect; a sound one without.
  static func subject(_ defect: ChannelDefect?) -> ChannelSubject {
    let channel = BrokenChannel(defect)
    var subject = ChannelSubject(
      channel: channel, destination: "memory://box?key=1", refused: ["memory:", "memory://nowhere", "other://box"]
    ) { channel.box.withLock { $0 } }
    subject.unreachable = "memory://away"
    subject.hanging = "memory://hang"
    return subject
  }

  func target(of destination: String) -> Result<DeliveryTarget, DeliveryRefusal> {
    let name = destination.prefix { $0 != "?" }
    guard ["memory://box", "memory://away", "memory://hang"].contains(name) || defect == .takesEverything else {
      return .failure(DeliveryRefusal(.badURL, "there is no \(destination)"))
    }
    let label = defect == .tellsQueries ? destination : String(name)
    return .success(DeliveryTarget(url: destination, server: String(name), label: label))
  }

  func start(_ attempts: [DeliveryAttempt], _ port: any AttemptPort) {
    for attempt in attempts {
      let key = state.withLock { state -> Int in
        state.last += 1
        state.open[state.last] = Open(number: attempt.number, port: port)
        return state.last
      }
      let other = defect == .mixesUpBytes && attempts.count > 500 ? attempts[0] : attempt
      let isCrowd = attempts.count == 16
      let task = Task { await self.make(attempt, payloadOf: other, key, isCrowd: isCrowd) }
      let isClosed = state.withLock { state in
        state.open[key]?.task = task
        return state.isClosed
      }
      if isClosed { end(key, .retry(isFault: false, after: nil), "the channel was closed") }
    }
  }

  private func make(_ attempt: DeliveryAttempt, payloadOf other: DeliveryAttempt, _ key: Int, isCrowd: Bool) async {
    if attempt.target.url == "memory://hang", !(defect == .waitsForNobody && isCrowd) {
      let extra = defect == .isLate ? Duration.milliseconds(1500) : .zero
      do { try await Task.sleep(for: attempt.timeout + extra) } catch { return }
      return end(key, .retry(isFault: true, after: nil), "no answer in time", mayHaveArrived: true)
    }
    if attempt.target.url.hasPrefix("memory://box") {
      if defect == .givesUpInHaste, attempt.timeout < .milliseconds(10) {
        return end(key, .rejected(.expired, endsDestination: false), "no time")
      }
      let bytes = defect == .sendsTheWholeRecord ? other.value : Array(other.value[other.payload])
      let id = defect == .makesNewIDs && attempt.attempts > 0 ? attempt.id + "-\(attempt.attempts)" : attempt.id
      let isLost = defect == .losesSingleOnes && attempt.number == 57
      if !isLost { box.withLock { $0.append(ReceivedDelivery(id: id, bytes: bytes)) } }
      return end(key, .delivered, defect == .saysNothing ? "" : "taken")
    }
    end(
      key, defect == .givesUpAtOnce ? .rejected(.gone, endsDestination: true) : .retry(isFault: true, after: nil),
      "nobody is there")
  }

  /// Ends an attempt that has not ended. Nothing is told after `close` has taken all.
  private func end(
    _ key: Int, _ verdict: AttemptOutcome.Verdict, _ detail: String, mayHaveArrived: Bool = false
  ) {
    state.withLock { state in
      guard let open = state.open.removeValue(forKey: key) else { return }
      let outcome = AttemptOutcome(number: open.number, verdict, detail: detail, mayHaveArrived: mayHaveArrived)
      open.port.end([outcome])
      if defect == .endsTwice, open.number == 7 { open.port.end([outcome]) }
    }
  }

  func close() async {
    let keys = state.withLock { state in
      state.isClosed = true
      for open in state.open.values { open.task?.cancel() }
      return Array(state.open.keys)
    }
    let end = { for key in keys { self.end(key, .retry(isFault: false, after: nil), "the channel was closed") } }
    switch defect {
    case .forgetsAtClose: break
    case .goesOnAfterClose:
      Task {
        try? await Task.sleep(for: .milliseconds(50))
        end()
      }
    default: end()
    }
  }
}
