import DatabusCore

#if canImport(Glibc)
  import Glibc
#endif

/// Reads the files of one source on a thread of its own, ahead of what is asked for, and watches those that are followed.
///
/// Not mapped into memory: a mapped file that somebody truncates kills the process.
actor FileReader {
  struct Settings: Sendable {
    var configuration: FileTransportConfiguration
    var follow: Bool
    var identities: any FileIdentityStore
    /// The incarnation of what has no identity of its own.
    var nonce: String
  }

  /// One configured path and the life of the file that stands there.
  struct Slot {
    var path: String
    var current: FileTail?
    /// What the next life was like when it was last looked at: a file that is being written is left alone.
    var candidate: FileFacts?
    /// The next life must not be taken for an earlier one, although the inode is the same.
    var isRewritten = false
    var lives = 0
  }

  nonisolated let worker: WorkerThread
  nonisolated var unownedExecutor: UnownedSerialExecutor { worker.asUnownedSerialExecutor() }

  let settings: Settings
  let exchange: FileExchange
  let mode: SourceMode
  let pool: BlockPool
  private nonisolated let names: [String]
  let clock = SystemClock()
  var slots: [Slot]
  /// All files that are read, in the order of their paths; of one path the older first.
  var tails: [FileTail] = []
  var lastGeneration: UInt64 = 0
  private var nextLook = Instant(nanoseconds: 0)
  /// Lives that the engine has given back, and when: they are forgotten a while later.
  var givenBack: [(tail: FileTail, moment: Instant)] = []
  var isTable: Bool { if case .everything = mode { true } else { false } }

  init(paths: [String], mode: SourceMode, _ settings: Settings, _ exchange: FileExchange) {
    worker = WorkerThread(name: "databus-file")
    self.settings = settings
    self.exchange = exchange
    self.mode = mode
    pool = BlockPool(blockBytes: settings.configuration.blockBytes)
    slots = paths.map { Slot(path: $0) }
    names = paths.map { FileTransportConfiguration.isStandard($0, input: true) ? "standard input" : $0 }
  }

  /// For people: the path of a partition.
  nonisolated func name(of index: Int) -> String { names.indices.contains(index) ? names[index] : "partition \(index)" }

  /// Opens all files, or throws what is wrong with the first that cannot be opened.
  func open() async throws -> (hasStreams: Bool, hasFiles: Bool) {
    for index in slots.indices { try await begin(index) }
    return (tails.contains { !$0.isRegular && !$0.isGone }, tails.contains { $0.isRegular })
  }

  // MARK: The loop

  /// Reads until the source is closed.
  func run() async {
    while true {
      let (changes, isClosed, requests) = exchange.look { state in
        defer { state.requests = [] }
        return (state.changes, state.isClosed, state.requests)
      }
      if isClosed { return end(requests) }
      for request in requests { answer(request) }
      var hasProgressed = false
      do {
        hasProgressed = try await obey()
        if try await readOn() { hasProgressed = true }
        if settings.follow || slots.contains(where: { $0.current == nil }), clock.now() >= nextLook {
          if try await lookAround() { hasProgressed = true }
          nextLook = clock.now() + settings.configuration.pollInterval
        }
      } catch {
        let failure = error as? TransportError ?? TransportError(.transport, "\(error)")
        exchange.tell { $0.failure = failure }
        hasProgressed = false
        nextLook = clock.now() + settings.configuration.pollInterval
      }
      if !hasProgressed { sleep(since: changes) }
    }
  }

  private func end(_ requests: [FileExchange.BoundsRequest]) {
    tails = []
    slots = []
    let late = exchange.tell { state in
      state.isOver = true
      state.partitions = [:]
      state.entries = []
      defer { state.requests = [] }
      return state.requests
    }
    for request in requests + late {
      request.answer.resume(throwing: TransportError(.closed, "The file source is closed."))
    }
    worker.stop()
  }

  /// Does what the engine asked for: goes to other places, drops what was released.
  private func obey() async throws -> Bool {
    var hasProgressed = false
    for tail in tails {
      let generation = tail.assignment.generation
      let (isKnown, seek, serial) = exchange.look { state in
        let partition = state.partitions[generation]
        let seek = partition?.seek
        state.partitions[generation]?.seek = nil
        return (partition != nil, seek, partition?.serial ?? 0)
      }
      if !isKnown {
        tails.removeAll { $0 === tail }
        if tail.isFinished, tail.identity != nil, keepsLives { givenBack.append((tail, clock.now())) }
        if !settings.follow { endIfDone() }
        continue
      }
      guard let seek else { continue }
      hasProgressed = true
      tail.serial = serial
      let size = try tail.file.facts().size
      if tail.isGone {
        tellGone(tail, from: seek)
      } else if seek > size {
        try await startOver(tail, gapFrom: seek, to: size)
      } else {
        tail.seek(to: seek)
      }
    }
    return hasProgressed
  }

  /// Reads a block of each file that wants one; of finite files only of the first that is not over, so that they come in
  /// order whichever of them the engine starts first, and none overtakes one that is paused.
  private func readOn() async throws -> Bool {
    if !settings.follow {
      guard let tail = tails.first(where: { !$0.isFinished }), wants(tail) else { return false }
      return try await advance(tail)
    }
    var hasProgressed = false
    for tail in tails where wants(tail) {
      if try await advance(tail) { hasProgressed = true }
    }
    return hasProgressed
  }

  private func wants(_ tail: FileTail) -> Bool {
    if tail.isFinished || tail.isAtEnd { return false }
    return exchange.look { state in
      guard let partition = state.partitions[tail.assignment.generation] else { return false }
      return partition.isStarted && !partition.isPaused && !partition.isLeaving && partition.seek == nil
        && partition.queued < state.readAhead
    }
  }

  private func advance(_ tail: FileTail) async throws -> Bool {
    if !tail.isRegular, !isReadable(tail.file.descriptor) { return false }
    switch try tail.read() {
    case .nothing: return true
    case .block(let block):
      try await publish(block, of: tail)
      return true
    case .end:
      if settings.follow, tail.isRegular {
        try tail.rememberEnd(at: clock.now())
        return false
      }
      if case .block(let block) = tail.finishLine() { try await publish(block, of: tail) }
      tail.isFinished = true
      endIfDone()
      return true
    }
  }

  /// The stream is over when every file is, and none of them can grow.
  private func endIfDone() {
    let isDone = tails.allSatisfy { $0.isFinished }
    if isDone { exchange.tell { $0.hasEnded = true } }
  }

  func publish(_ block: ReadBlock, of tail: FileTail) async throws {
    if var identity = tail.identity, identity.headCount < FileIdentity.maximumHeadBytes {
      // Before records go out under this incarnation, the file must be known by all of its head.
      let head = try tail.file.bytes(at: 0, FileIdentity.maximumHeadBytes)
      if head.count > identity.headCount {
        identity.headCount = head.count
        identity.headHash = FileIdentity.hash(head)
        try await settings.identities.save(identity)
        tail.identity = identity
      }
    }
    let entry = FileExchange.Entry(assignment: tail.assignment, item: .records(block, first: 0))
    let (generation, serial) = (tail.assignment.generation, tail.serial)
    exchange.tell { state in
      guard let partition = state.partitions[generation], partition.serial == serial, !partition.isLeaving else {
        return
      }
      state.entries.append(entry)
      state.partitions[generation]?.queued += 1
    }
  }

  /// Waits until something was asked for, a stream has bytes, a file is to be looked at, or a caller's time is over.
  private func sleep(since changes: UInt64) {
    var polled = [pollfd(fd: exchange.wakePipe.readEnd, events: Int16(POLLIN), revents: 0)]
    for tail in tails where !tail.isRegular && wants(tail) {
      polled.append(pollfd(fd: tail.file.descriptor, events: Int16(POLLIN), revents: 0))
      if !settings.follow { break }
    }
    let watches = slots.contains { $0.current == nil || settings.follow && $0.current?.isRegular == true }
    let look = watches || nextLook > clock.now() ? nextLook : nil
    let until = exchange.look { state -> Instant? in
      if state.changes != changes { return nil }
      let moments = [look, state.waiter?.deadline].compactMap { $0 }
      let until = moments.min() ?? Instant(nanoseconds: .max)
      state.readerSleepsUntil = until
      return until
    }
    guard let until else { return }
    let rest = until - clock.now()
    // Rounded up: waking too early would spin.
    let milliseconds = min((rest.wholeNanoseconds + 999_999) / 1_000_000, 3_600_000)
    poll(&polled, nfds_t(polled.count), Int32(milliseconds))
    exchange.wakePipe.drain()
    let now = clock.now()
    let late = exchange.look { state -> CheckedContinuation<Void, Never>? in
      state.readerSleepsUntil = nil
      guard let waiter = state.waiter, waiter.deadline <= now else { return nil }
      state.waiter = nil
      return waiter.continuation
    }
    late?.resume()
  }

  private func isReadable(_ descriptor: Int32) -> Bool {
    var polled = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    return poll(&polled, 1, 0) > 0
  }

  // MARK: Bounds

  private func answer(_ request: FileExchange.BoundsRequest) {
    do {
      request.answer.resume(returning: try request.partitions.map(bounds))
    } catch {
      request.answer.resume(throwing: error)
    }
  }

  private func bounds(of partition: PartitionID) throws -> PartitionBounds {
    guard let tail = tails.last(where: { $0.assignment.partition == partition }) else {
      throw TransportError(
        .transport, "\(partition) is not there any more: the file at \(name(of: partition.index)) is another one now.")
    }
    if !tail.isRegular {
      let end = Position(next: tail.undelivered)
      return PartitionBounds(first: Position(next: 0), end: end)
    }
    let takesUnterminated = !settings.follow || isTable
    let end = try LineSplitter.end(of: tail.file, takesUnterminated: takesUnterminated)
    return PartitionBounds(first: Position(next: 0), end: Position(next: end))
  }
}
