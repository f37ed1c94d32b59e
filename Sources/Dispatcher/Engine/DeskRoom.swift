import DatabusCore

/// Who may have how much of the memory, so that nobody who is slow stops others, and nobody who is quick waits for nothing.
///
/// A destination that keeps taking what it is given may have waiting in memory what it takes in a quarter of a minute, however much that is: the
/// intake waits where there is no more room. What a slower one is sent beyond that goes to a retry stream.
extension DeliveryDesk {
  /// How many may wait in memory for a destination.
  func limit(of destination: Destination, _ now: Instant) -> Int {
    guard destination.isHealthy(at: now) else { return settings.queue }
    // Where nobody knows yet, it will be seen soon.
    guard !isHeldUp, let soon = takenSoon(by: destination, now) else { return .max }
    return max(settings.queue, soon)
  }

  /// How many a destination takes in the time that a retry may wait in memory; nil where that is not known.
  private func takenSoon(by destination: Destination, _ now: Instant) -> Int? {
    destination.rate(at: now).map { Int(clamping: $0 * settings.retry.inMemory.fractionalSeconds) }
  }

  /// Looks at what has been in memory for long: it keeps positions from moving, and is set aside in a retry stream where its turn is not near.
  func setAsideOld(_ now: Instant) {
    var passed = 0
    var kept: [UInt64] = []
    var late: [ObjectIdentifier: Destination] = [:]
    for number in arrivals {
      if let job = jobs[number] {
        guard now - job.acceptedAt > settings.retry.inMemory else { break }
        switch job.state {
        case .waiting: store(job, pause: job.dueAt - now, isSpill: true, now)
        case .queued:
          if let destination = job.destination { late[ObjectIdentifier(destination)] = destination }
          kept.append(number)
        case .claiming, .sending, .settling, .writing: kept.append(number)
        case .ended: break
        }
      }
      passed += 1
    }
    arrivals.replaceSubrange(0..<passed, with: kept)
    for destination in late.values {
      guard destination.isHealthy(at: now) else {
        setAside(of: destination, behind: 0, now)
        continue
      }
      if let soon = takenSoon(by: destination, now) { setAside(of: destination, behind: soon, now) }
    }
  }

  /// To be called about once a second: what was given room that it makes no use of is set aside.
  func makeRoom(_ now: Instant) {
    for destination in destinations.values {
      if destination.queueCount > 0 {
        destination.look(at: now)
        setAside(of: destination, behind: limit(of: destination, now), now)
      } else {
        destination.setAside = 0
      }
    }
    guard inbox.isNearlyFull else {
      fullSince = nil
      return
    }
    let since = fullSince ?? now
    fullSince = since
    // Setting aside costs a delivery the shortest retry stream's delay: no shorter wait of others is worth it.
    guard now - since > settings.retry.tiers[0],
      let largest = destinations.values.max(by: { $0.queueCount < $1.queueCount }),
      destinations.values.contains(where: { $0 !== largest && $0.pace.lastArrival > since })
    else { return }
    setAside(of: largest, behind: max(settings.queue, largest.queueCount / 2), now)
  }

  /// The retry stream of a delivery for which there is no room: it comes back before its turn, and not much earlier than that.
  func tierForWantOfRoom(_ job: DeliveryJob, _ now: Instant) -> Int {
    let policy = settings.retry
    guard let destination = job.destination, destination.isHealthy(at: now), let rate = destination.rate(at: now),
      mark(job, .paused) == nil
    else { return policy.tier(forSpill: job.carried.spills) }
    let ahead = Double(destination.queueCount + destination.setAside)
    return policy.tier(for: .seconds(min(ahead / rate, 1e6)))
  }

  private func setAside(of destination: Destination, behind count: Int, _ now: Instant) {
    for job in destination.removeAll(behind: count) { store(job, pause: nil, isSpill: true, now) }
  }
}
