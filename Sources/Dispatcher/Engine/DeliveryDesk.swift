import DatabusCore
import Synchronization

/// Decides what becomes of each delivery: when it is tried, what follows from an attempt, and when it has ended.
///
/// It runs on a thread of its own. What others have to say to it they leave in its inbox; each turn takes everything that is there, starts
/// what can be started, asks the store for all of it at once and tells all ends at once.
actor DeliveryDesk {
  struct Parts {
    var settings: DispatchSettings
    var store: any DeduplicationStore
    /// By URL scheme.
    var channels: [String: any DeliveryChannel]
    var copies: any CopyStreams
    var metrics: DispatchMetrics
    var observer: (any AttemptObserver)?
    var clock: any EngineClock
    var log: Logger
  }

  let parts: Parts
  let settings: DispatchSettings
  let clock: any EngineClock
  let log: Logger
  let inbox: DeskInbox
  nonisolated let thread: WorkerThread
  nonisolated var unownedExecutor: UnownedSerialExecutor { thread.asUnownedSerialExecutor() }

  // MARK: Deliveries

  /// Those that came in and have not been looked at.
  private var accepted = Queue<DeliveryJob>(keptCapacity: 4096)
  var jobs: [UInt64: DeliveryJob] = [:]
  /// Ids that an attempt is under way for here, with those that wait for its end.
  var underWay: [DeliveryID: [DeliveryJob]] = [:]
  /// In the order of their arrival: who keeps a position from moving is found at the front.
  var arrivals: [UInt64] = []
  var ended: [UInt64] = []
  var random = SmallGenerator()
  var reader: ResultReader
  let ruleDelivery = RuleDelivery()

  // MARK: Destinations

  /// By URL as it stands in results: what the channel has made of it.
  var targets: [String: Result<DeliveryTarget, DeliveryRefusal>] = [:]
  /// By the target's URL.
  var destinations: [String: Destination] = [:]
  var servers: [String: DestinationServer] = [:]
  /// Those that can start something, each at most once.
  var line = Queue<Destination>(keptCapacity: 4096)
  var slotsInUse = 0
  /// Since when there has been hardly any room for more.
  var fullSince: Instant?
  /// Until the marks have been read once, nothing is sent: it may be for somebody who is paused.
  var hasMarks = false
  var marks: [DispatchMark.Subject: [DispatchMark.Kind: DispatchMark]] = [:]
  /// nil: they have not been read yet, or nobody wants to know.
  var rules: RuleStandings?

  // MARK: Time

  enum Timer {
    case job(UInt64)
    case destination(Destination)
  }
  var timers = TimerQueue<Timer>()
  var looksBackAt = Instant(nanoseconds: 0)
  var looksAtMarksAt = Instant(nanoseconds: 0)

  // MARK: The store and the channels

  var questions: [(request: DeduplicationRequest, job: DeliveryJob)] = []
  /// There is something that the store is to be asked or told.
  var hasQuestions: Bool { !questions.isEmpty || bridge?.owed.isEmpty == false }
  var isAsking = false
  /// It has failed, and is asked again then.
  var asksAgainAt: Instant?
  var storePause = Duration.milliseconds(100)
  /// What goes on while the store is away, where anything does.
  var bridge: StoreBridge?
  /// Nothing can be tried until others have answered, which is no destination's fault.
  var isHeldUp: Bool { asksAgainAt != nil && bridge == nil || !knowsWhatIsWanted }
  /// What is paused, disabled, cancelled or without a rule has been read.
  var knowsWhatIsWanted: Bool { hasMarks && (settings.rules == nil || rules != nil) }
  var outgoing: [String: [DeliveryAttempt]] = [:]
  var copies: [CopyStream: [StreamWriter.Outgoing]] = [:]
  /// When each attempt's claim was sent: its lease runs from there.
  var startedAt: [UInt64: Instant] = [:]

  /// What the observer has not been told yet.
  var notes: [DeliveryNote] = []

  // MARK: Ends

  var isDraining = false
  var retired: Set<PartitionID> = []
  var isClosed = false

  init(_ parts: Parts, inbox: DeskInbox, thread: WorkerThread) throws(JSONError) {
    self.parts = parts
    self.inbox = inbox
    self.thread = thread
    settings = parts.settings
    clock = parts.clock
    log = parts.log
    reader = try ResultReader()
    bridge = settings.withoutStore == .send ? StoreBridge() : nil
  }

  /// Works until `close`.
  func run() async {
    while !isClosed {
      turn()
      if accepted.isEmpty {
        await inbox.signal.wait(for: pause(), clock)
      } else {
        await Task.yield()
      }
    }
  }

  /// How long nothing is due.
  private func pause() -> Duration {
    var next = clock.now() + .milliseconds(500)
    if let timer = timers.next { next = min(next, timer) }
    if let again = asksAgainAt, hasQuestions { next = min(next, again) }
    return max(.milliseconds(1), next - clock.now())
  }

  func close() {
    isClosed = true
    inbox.signal.notify()
  }

  /// One turn: everything that is there.
  func turn() {
    let now = clock.now()
    let input = inbox.take()
    // Ends first: they make room, and say how quick destinations are.
    for outcome in input.outcomes { end(outcome, now) }
    for end in input.copies { copied(end, now) }
    accepted.append(contentsOf: input.accepted)
    acceptSome(now)
    if let marks = input.marks { replace(marks, now) }
    if input.hasNoMarks { goOnWithoutMarks(now) }
    if let rules = input.rules { replace(rules, now) }
    for origin in input.retired { retire(origin) }
    while let timer = timers.pop(at: now) {
      switch timer {
      case .job(let number): wake(number, now)
      case .destination(let destination):
        destination.wakesAt = nil
        lineUp(destination)
      }
    }
    if looksBackAt <= now {
      looksBackAt = now + .seconds(1)
      lookBack(now)
    }
    if looksAtMarksAt <= now {
      looksAtMarksAt = now + .seconds(2)
      lookAtMarks()
    }
    startAttempts(now)
    sendOut()
    ask(now)
    tellNotes()
    tellEnds()
    tellRest()
  }

  /// Accepts what has come in, no more than a turn can hold: what goes on waits for its end.
  private func acceptSome(_ now: Instant) {
    for _ in 0..<1024 {
      guard let job = accepted.popFirst() else { return }
      accept(job, now)
    }
  }

  // MARK: Ends

  /// The delivery is over here: its record can be passed.
  func end(_ job: DeliveryJob) {
    guard job.state != .ended else { return }
    job.state = .ended
    jobs[job.number] = nil
    ended.append(job.token)
    inbox.released(job.byteCount)
  }

  /// The delivery is left as it is: whoever reads its record next goes on with it.
  func drop(_ job: DeliveryJob) {
    job.state = .ended
    jobs[job.number] = nil
    inbox.released(job.byteCount)
  }

  private func tellEnds() {
    if ended.isEmpty { return }
    inbox.complete(ended)
    ended.removeAll(keepingCapacity: true)
  }

  // MARK: Coming to rest

  /// Begins nothing more of what comes from this partition, or of anything.
  private func retire(_ origin: PartitionID?) {
    if let origin { retired.insert(origin) } else { isDraining = true }
    for job in accepted.remove({ origin == nil || $0.record.partition == origin }) { drop(job) }
    let given = jobs.values.filter { !$0.isActive && (origin == nil || $0.record.partition == origin) }
    for job in given { drop(job) }
    for destination in destinations.values { _ = destination.remove { $0.state == .ended } }
    for (id, waiting) in underWay { underWay[id] = waiting.filter { $0.state != .ended } }
  }

  private func tellRest() {
    guard isDraining || !retired.isEmpty else { return }
    var active: Set<PartitionID> = []
    for job in jobs.values where job.isActive { active.insert(job.record.partition) }
    if isDraining, active.isEmpty { inbox.isAtRest = true }
    for origin in retired where !active.contains(origin) {
      retired.remove(origin)
      inbox.cameToRest(origin)
    }
  }
}

/// Random numbers for tokens and jitter: quick, and different in every process.
struct SmallGenerator {
  private var state: UInt64 = .random(in: .min ... .max)

  /// SplitMix64: every number once before any comes again.
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  /// From 0 up to, and not, 1.
  mutating func fraction() -> Double { Double(next() >> 11) * 0x1p-53 }
}
