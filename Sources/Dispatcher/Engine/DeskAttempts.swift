import DatabusCore

/// Attempts: who may begin one, the store's leave for it, and what follows from its end.
extension DeliveryDesk {
  /// A smaller lease than the attempt takes would let two go on at once.
  static let leaseBeyondAttempt = Duration.seconds(5)

  // MARK: Starting

  /// Starts what can be started: one delivery of each destination in turn, so that none waits behind a busy one.
  func startAttempts(_ now: Instant) {
    guard !isDraining, knowsWhatIsWanted else { return }
    // While the store is away nothing is asked for that would only wait.
    guard asksAgainAt == nil || bridge != nil || questions.count < settings.slots else { return }
    while slotsInUse < settings.slots, let destination = line.popFirst() {
      destination.isInLine = false
      if start(destination, now) { lineUp(destination) }
    }
  }

  /// Starts one delivery of a destination, where it can. True where another may follow at once.
  private func start(_ destination: Destination, _ now: Instant) -> Bool {
    guard destination.queueCount > 0, destination.active < destination.concurrency else { return false }
    if destination.quietUntil > now {
      wake(destination, at: destination.quietUntil)
      return false
    }
    if destination.server.active >= settings.slotsPerServer {
      if !destination.server.line.contains(where: { $0 === destination }) {
        destination.server.line.append(destination)
      }
      return false
    }
    guard destination.breaker.permits(at: now) else {
      if case .open(let until) = destination.breaker.state { wake(destination, at: until) }
      return false
    }
    if let pause = destination.takeToken(at: now) {
      wake(destination, at: now + pause)
      return false
    }
    guard let job = destination.popFirst() else { return false }
    if underWay[job.id] != nil {
      // The same delivery twice: the second hears from the store what became of the first, once that is over.
      destination.giveTokenBack()
      job.state = .waiting
      job.dueAt = now + settings.retry.inMemory
      underWay[job.id]?.append(job)
      return true
    }
    underWay[job.id] = []
    job.isUnderWay = true
    destination.active += 1
    destination.server.active += 1
    destination.breaker.begin()
    slotsInUse += 1
    job.state = .claiming
    job.claim = random.next() | 1
    startedAt[job.number] = now
    if goesWithoutStore(now) { claimWithoutStore(job, now) } else { questions.append((.claim(claim(job)), job)) }
    return true
  }

  private func claim(_ job: DeliveryJob) -> DeduplicationRequest.Claim {
    let lease =
      DispatchCrashPoint.shortensLeases ? .milliseconds(100) : job.settings.timeout + DeliveryDesk.leaseBeyondAttempt
    return .init(
      id: job.id, token: job.claim, lease: lease,
      retention: settings.openRetention, attempts: job.carried.attempts, replays: job.carried.replays)
  }

  private func wake(_ destination: Destination, at moment: Instant) {
    if let planned = destination.wakesAt, planned <= moment { return }
    destination.wakesAt = moment
    timers.add(.destination(destination), at: moment)
  }

  /// The attempt is over, or never began.
  private func release(_ job: DeliveryJob, _ now: Instant) {
    guard let destination = job.destination else { return }
    startedAt[job.number] = nil
    destination.active -= 1
    destination.server.active -= 1
    slotsInUse -= 1
    lineUp(destination)
    if !destination.server.line.isEmpty, destination.server.active < settings.slotsPerServer {
      let waiting = destination.server.line
      destination.server.line = []
      for other in waiting { lineUp(other) }
    }
  }

  /// Nobody is at this id any more: who waited for that takes its turn.
  private func leave(_ job: DeliveryJob, _ now: Instant) {
    guard job.isUnderWay, let waiting = underWay.removeValue(forKey: job.id) else { return }
    job.isUnderWay = false
    for other in waiting where other.state == .waiting { enqueue(other, now) }
  }

  // MARK: The store

  /// Asks the store everything that there is to ask, one call at a time: what comes meanwhile goes with the next one.
  func ask(_ now: Instant) {
    guard !isAsking, hasQuestions else { return }
    if let again = asksAgainAt, again > now { return }
    isAsking = true
    let asked = questions
    questions = []
    let owed = bridge?.takeOwed() ?? []
    let store = parts.store
    Task {
      do {
        #if DATABUS_FAULTS
          for question in asked { DeliveryDesk.pass(question.request) }
        #endif
        let answers = try await store.process(asked.map(\.request) + owed.map { .settle($0) })
        self.take(asked, answers)
      } catch {
        self.bridge?.owe(owed)
        self.storeFailed(asked, error)
      }
      self.isAsking = false
      self.turn()
    }
  }

  #if DATABUS_FAULTS
    /// The store is about to be asked.
    private static func pass(_ request: DeduplicationRequest) {
      switch request {
      case .claim: DispatchCrashPoint.beforeClaim()
      case .settle(let settlement): if settlement.state == .done { DispatchCrashPoint.deliveredAndNotSettled() }
      }
    }
  #endif

  private func take(_ asked: [(request: DeduplicationRequest, job: DeliveryJob)], _ answers: [DeduplicationAnswer]) {
    let now = clock.now()
    if asksAgainAt != nil {
      goingOn(now) { asksAgainAt = nil }
      storePause = .milliseconds(100)
      inbox.setTrouble(nil, of: "deduplication")
      log.info("the deduplication store answers again", at: "deduplication")
    }
    for (question, answer) in zip(asked, answers) {
      switch question.request {
      case .claim: claimed(question.job, answer, now)
      case .settle(let settlement): settled(question.job, settlement, answer, now)
      }
    }
  }

  private func storeFailed(_ asked: [(request: DeduplicationRequest, job: DeliveryJob)], _ error: any Error) {
    // The order stays: what was asked first is asked again first. The same token makes the same question harmless.
    questions = asked + questions
    storeIsAway("\(error)")
    if bridge != nil { answerWithoutStore(clock.now()) }
  }

  func storeIsAway(_ message: String) {
    if asksAgainAt == nil {
      let consequence =
        bridge == nil ? "nothing is sent until it answers" : "deliveries go on without it, and may repeat"
      log.error(message, at: "deduplication", remedy: "\(consequence); it is tried again without limit")
    }
    inbox.setTrouble(message, of: "deduplication")
    asksAgainAt = clock.now() + storePause
    storePause = min(storePause * 2, .seconds(2))
  }

  private func claimed(_ job: DeliveryJob, _ answer: DeduplicationAnswer, _ now: Instant) {
    switch answer {
    case .granted(let attempts, let isOutcomeUnknown): granted(job, attempts, isOutcomeUnknown, now)
    case .busy(let rest), .wait(let rest):
      unstart(job, now)
      job.claim = 0
      leave(job, now)
      if isDraining || retired.contains(job.record.partition) { return drop(job) }
      wait(job, for: max(rest, .milliseconds(1)), now)
    case .done: pass(job, "it has arrived before", now)
    case .stale: pass(job, "a later copy of it is in a retry stream", now)
    case .dead: pass(job, "it was given up before", now)
    case .settled, .refused:
      // No answer to a claim: the store is not what it says.
      unstart(job, now)
      leave(job, now)
      log.error("the deduplication store answers a claim with a settlement", at: "deduplication", remedy: "report this")
      wait(job, for: .seconds(1), now)
    }
  }

  /// Passes a delivery that has been seen to before.
  func pass(_ job: DeliveryJob, _ detail: String, _ now: Instant) {
    job.destination?.pace.passed(at: now)
    unstart(job, now)
    leave(job, now)
    note(job, .duplicate, detail)
    parts.metrics.duplicates.add(1)
    end(job)
  }

  func granted(_ job: DeliveryJob, _ attempts: Int, _ isOutcomeUnknown: Bool, _ now: Instant) {
    job.attempts = max(attempts, job.carried.attempts)
    func giveUp(_ reason: DispatchReason, _ detail: String) {
      unstart(job, now)
      leave(job, now)
      self.giveUp(job, reason, detail, now, isClaimed: true)
    }
    if settings.mode == .atMostOnce, isOutcomeUnknown {
      return giveUp(.ambiguous, "an earlier attempt may have arrived, and it is to be sent at most once")
    }
    if job.attempts >= settings.retry.attempts {
      return giveUp(.exhausted, "\(job.attempts) attempts have failed")
    }
    // The lease runs since the claim was sent; so does the attempt.
    let timeout = job.settings.timeout - (now - (startedAt[job.number] ?? now))
    if isDraining || timeout <= .zero || retired.contains(job.record.partition) {
      unstart(job, now)
      job.state = .settling
      settle(job, .waiting(.zero))
      return
    }
    guard let destination = job.destination, let value = job.record.value else { return }
    job.state = .sending
    job.attempts += 1
    DispatchCrashPoint.claimedAndNotSent()
    let scheme = destination.target.url.prefix { $0 != ":" }
    outgoing[String(scheme), default: []].append(
      DeliveryAttempt(
        number: job.number, target: destination.target, id: job.webhookID, attempts: job.attempts - 1, value: value,
        payload: job.payload, rule: job.rule, settings: job.settings, timeout: timeout))
  }

  /// An attempt that was about to begin does not.
  private func unstart(_ job: DeliveryJob, _ now: Instant) {
    job.destination?.breaker.cancel()
    job.destination?.giveTokenBack()
    release(job, now)
  }

  func settle(_ job: DeliveryJob, _ state: DeduplicationRequest.Settlement.State) {
    let retention =
      switch state {
      case .done, .dead: settings.memory
      case .waiting, .stored: settings.openRetention
      }
    let settlement = DeduplicationRequest.Settlement(
      id: job.id, token: job.claim, state: state, attempts: job.attempts, retention: retention)
    if bridge != nil, asksAgainAt != nil {
      settleWithoutStore(job, settlement, clock.now())
    } else {
      questions.append((.settle(settlement), job))
    }
  }

  func settled(
    _ job: DeliveryJob, _ settlement: DeduplicationRequest.Settlement, _ answer: DeduplicationAnswer, _ now: Instant
  ) {
    leave(job, now)
    switch settlement.state {
    case .done, .dead, .stored:
      if settlement.state == .done { DispatchCrashPoint.settledAndNotPassed() }
      if settlement.state != .stored { bridge?.remember(job.id, replays: job.carried.replays) }
      end(job)
    case .waiting(let pause):
      if isDraining || retired.contains(job.record.partition) { return drop(job) }
      // Where another attempt owns it now, the next claim tells what became of that.
      wait(job, for: answer == .settled ? pause : max(pause, .seconds(1)), now)
    }
  }

  // MARK: Waiting

  func wait(_ job: DeliveryJob, for pause: Duration, _ now: Instant) {
    job.state = .waiting
    job.dueAt = now + pause
    timers.add(.job(job.number), at: job.dueAt)
  }

  func wake(_ number: UInt64, _ now: Instant) {
    guard let job = jobs[number], job.state == .waiting, job.dueAt <= now else { return }
    enqueue(job, now)
  }

  // MARK: Outcomes

  func end(_ outcome: AttemptOutcome, _ now: Instant) {
    guard let job = jobs[outcome.number], job.state == .sending, let destination = job.destination else { return }
    DispatchCrashPoint.sentAndNotJudged()
    job.lastOutcome = outcome
    // A channel need not say how long it took.
    let taken = outcome.duration > .zero ? outcome.duration : now - (startedAt[job.number] ?? now)
    destination.pace.answered(after: taken, at: now)
    release(job, now)
    let isFault = if case .retry(let isFault, _) = outcome.verdict { isFault } else { false }
    destination.breaker.end(isFault: isFault, at: now, settings.breaker)
    destination.attempts.count(outcome.verdict)
    parts.metrics.attemptTime.record(outcome.duration)
    switch outcome.verdict {
    case .delivered:
      note(job, .delivered, outcome.detail)
      job.state = .settling
      if DispatchCrashPoint.skipsDoneMark {
        leave(job, now)
        return end(job)
      }
      settle(job, .done)
    case .rejected(let reason, let endsDestination):
      note(job, .rejected, outcome.detail)
      if endsDestination { disable(job, outcome.detail) }
      giveUp(job, reason, outcome.detail, now, isClaimed: true)
    case .retry(let isFault, let after):
      note(job, .failed, outcome.detail)
      if settings.mode == .atMostOnce, outcome.mayHaveArrived {
        return giveUp(
          job, .ambiguous, "it may have arrived, and is to be sent at most once: \(outcome.detail)", now,
          isClaimed: true)
      }
      if let after {
        destination.quietUntil = max(destination.quietUntil, now + min(after, settings.retry.retryAfterCap))
      }
      if !isFault { destination.emptyBucket(at: now) }
      retry(job, asked: after, now)
    }
  }

  private func retry(_ job: DeliveryJob, asked: Duration?, _ now: Instant) {
    let policy = settings.retry
    if job.attempts >= policy.attempts {
      return giveUp(job, .exhausted, "\(job.attempts) attempts have failed", now, isClaimed: true)
    }
    let pause = policy.pause(after: job.attempts, asked: asked, random: random.fraction())
    let age = Duration.milliseconds(max(0, clock.wallMilliseconds() - job.firstAt))
    if age + pause > policy.age {
      return giveUp(
        job, .expired, "the next attempt would come after it is \(policy.age.fractionalSeconds) s old", now,
        isClaimed: true)
    }
    if pause <= policy.inMemory {
      job.state = .settling
      settle(job, .waiting(pause))
    } else {
      store(job, pause: pause, isSpill: false, now, isClaimed: true)
    }
  }

  /// Hands the attempts of this turn to their channels.
  func sendOut() {
    for (scheme, list) in outgoing where !list.isEmpty { parts.channels[scheme]?.start(list, inbox) }
    outgoing.removeAll(keepingCapacity: true)
    for (stream, list) in copies where !list.isEmpty { parts.copies.write(list, to: stream) }
    copies.removeAll(keepingCapacity: true)
  }

  /// Tells the observer of this turn.
  func tellNotes() {
    if notes.isEmpty { return }
    parts.observer?.note(notes)
    notes.removeAll(keepingCapacity: true)
  }

  /// Notes something for people who ask later.
  ///
  /// - Parameter change: adds what only this kind of note has.
  func note(
    _ job: DeliveryJob, _ happening: DeliveryNote.Happening, _ detail: String,
    _ change: (inout DeliveryNote) -> Void = { _ in }
  ) {
    guard parts.observer != nil else { return }
    var note = DeliveryNote(
      id: job.webhookID, happening, at: clock.wallMilliseconds(), attempts: job.attempts, url: job.destinationURL,
      rule: job.rule, event: job.event, origin: job.carried.origin, partition: job.record.partition,
      position: job.record.position, detail: detail)
    if happening.isAttempt, let outcome = job.lastOutcome {
      note.status = outcome.status
      note.duration = outcome.duration
    }
    change(&note)
    notes.append(note)
  }
}
