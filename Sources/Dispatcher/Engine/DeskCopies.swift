import DatabusCore

/// A stream that takes copies of records.
enum CopyStream: Hashable, Sendable {
  /// The retry stream of a results stream, by the delay's place in the policy.
  case retry(results: String, tier: Int)
  case deadLetters
}

/// Writes copies, and says at the desk's inbox when they are safe.
protocol CopyStreams: Sendable {
  func write(_ records: [StreamWriter.Outgoing], to stream: CopyStream)
}

/// What is set aside: in a retry stream until it is due, or as a dead letter for good.
extension DeliveryDesk {
  /// Puts a copy of the delivery into a retry stream.
  ///
  /// - Parameters:
  ///   - pause: until its next attempt; nil: as soon as there is room for it.
  ///   - isSpill: it is no attempt that has failed: it is set aside for want of room.
  ///   - isClaimed: the store holds a claim of ours.
  func store(_ job: DeliveryJob, pause: Duration?, isSpill: Bool, _ now: Instant, isClaimed: Bool = false) {
    let policy = settings.retry
    var carried = job.carried
    carried.attempts = job.attempts
    carried.firstAt = job.firstAt
    carried.origin = carried.origin ?? job.record.locator
    let wall = clock.wallMilliseconds()
    let tier: Int
    if let pause {
      carried.due = wall + Int64(clamping: pause.wholeNanoseconds / 1_000_000)
      tier = policy.tier(for: pause)
    } else {
      carried.due = nil
      tier = tierForWantOfRoom(job, now)
    }
    if isSpill {
      carried.spills += 1
      job.destination?.setAside += 1
    }
    job.carried = carried
    job.state = .writing
    // A delivery that waits in memory is the store's, too: it learns where it is now.
    job.afterWriting = isClaimed || job.claim != 0 ? .stored : .nothing
    if isSpill { parts.metrics.spilled.add(1) } else { parts.metrics.stored.add(1) }
    let results = settings.resultsStream(of: job.record.partition.stream)
    copies[.retry(results: results, tier: tier), default: []].append(
      .init(
        number: job.number, key: job.record.key, value: job.record.value,
        headers: carried.headers(behind: job.record.headers), timestamp: wall))
    note(job, .stored, isSpill ? "set aside for want of room" : "to be tried again later") { note in
      note.stream = policy.stream(of: results, tier: tier)
      note.due = carried.due
    }
  }

  /// Gives the delivery up: a dead letter says why.
  func giveUp(
    _ job: DeliveryJob, _ reason: DispatchReason, _ detail: String, _ now: Instant, isClaimed: Bool = false
  ) {
    job.state = .writing
    job.afterWriting = isClaimed ? .dead : .nothing
    parts.metrics.deadLetters(reason).add(1)
    note(job, .dead, detail) { $0.reason = reason }
    copies[.deadLetters, default: []].append(DispatchLetter.make(job, reason, detail, at: clock.wallMilliseconds()))
  }

  /// Copies are safe, or refused.
  func copied(_ end: StreamWriter.End, _ now: Instant) {
    switch end {
    case .written(let numbers):
      for number in numbers {
        guard let job = jobs[number], job.state == .writing else { continue }
        switch job.afterWriting {
        case .nothing:
          self.end(job)
        case .stored:
          DispatchCrashPoint.storedAndNotSettled()
          job.state = .settling
          settle(job, .stored)
        case .dead:
          DispatchCrashPoint.deadAndNotSettled()
          job.state = .settling
          settle(job, .dead)
        }
      }
    case .refused(let number, let message):
      guard let job = jobs[number], job.state == .writing else { return }
      if job.isCut {
        // Nothing smaller can be made of it: it stays, and so does its position.
        inbox.setTrouble("a dead letter is refused: \(message)", of: "dead letters")
        log.error(
          "a dead letter is refused: \(message)", at: job.record.locator,
          remedy: "mend the dead-letter stream and start again; the record is read again then")
        return
      }
      job.isCut = true
      let isClaimed: Bool
      if case .nothing = job.afterWriting { isClaimed = false } else { isClaimed = true }
      giveUp(job, .tooLarge, "a copy of it is refused: \(message)", now, isClaimed: isClaimed)
    }
  }
}
