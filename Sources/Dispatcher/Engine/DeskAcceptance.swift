import DatabusCore

/// What comes in: records become deliveries, and stand in their destination's queue.
extension DeliveryDesk {
  func accept(_ job: DeliveryJob, _ now: Instant) {
    jobs[job.number] = job
    arrivals.append(job.number)
    job.firstAt = job.carried.firstAt ?? job.record.timestamp
    job.attempts = job.carried.attempts
    parts.metrics.accepted.add(1)
    guard let value = job.record.value else { return giveUp(job, .poison, "the record has no value", now) }
    let fields: ResultFields
    do throws(ResultProblem) {
      fields = try reader.read(value)
    } catch {
      return giveUp(job, .poison, error.message, now)
    }
    job.destinationURL = fields.destination
    job.payload = fields.payload
    job.rule = fields.rule
    job.event = fields.event
    identify(job, fields)
    switch target(of: fields.destination) {
    case .failure(let refusal): return giveUp(job, refusal.reason, refusal.detail, now)
    case .success(let target):
      let delivery = fields.delivery.map { value[$0] } ?? []
      switch ruleDelivery.settings(of: delivery, over: settings.settings(for: target.url)) {
      case .failure(let refusal): return giveUp(job, refusal.reason, refusal.detail, now)
      case .success(let found): job.settings = found
      }
      // One text for all deliveries to it.
      if target.url == job.destinationURL { job.destinationURL = target.url }
      let destination = destination(target)
      if job.carried.spills > 0 { destination.setAside = max(0, destination.setAside - 1) }
      job.destination = destination
    }
    if let due = job.carried.due {
      let rest = Duration.milliseconds(max(0, due - clock.wallMilliseconds()))
      if rest > settings.retry.inMemory { return store(job, pause: rest, isSpill: false, now) }
      if rest > .zero { return wait(job, for: rest, now) }
    }
    enqueue(job, now)
  }

  private func identify(_ job: DeliveryJob, _ fields: ResultFields) {
    if let text = fields.id ?? job.carried.id {
      job.id = DeliveryID(named: text)
      job.webhookID = DeliveryDesk.isSendable(text) ? text : job.id.description
      return
    }
    let identity = EventIdentity.position(
      incarnation: job.record.partition.incarnation, partition: job.record.partition.index,
      position: job.record.position, timestamp: job.record.timestamp)
    job.id = identity.deliveryID(ruleID: fields.rule ?? "")
    job.webhookID = job.id.description
    // A copy of the record stands elsewhere and is the same delivery.
    job.carried.id = job.webhookID
  }

  /// Whether a text can stand in a header as it is.
  private static func isSendable(_ id: String) -> Bool {
    (1...256).contains(id.utf8.count) && id.isVisibleASCII
  }

  // MARK: Destinations

  private func target(of url: String) -> Result<DeliveryTarget, DeliveryRefusal> {
    if let known = targets[url] { return known }
    let scheme = url.utf8.firstIndex(of: UInt8(ascii: ":")).map { url[..<$0].lowercased() } ?? ""
    let found: Result<DeliveryTarget, DeliveryRefusal>
    if let channel = parts.channels[scheme] {
      found = channel.target(of: url)
    } else {
      let known = parts.channels.keys.sorted().joined(separator: ", ")
      found = .failure(
        DeliveryRefusal(
          .badURL, "nothing here delivers to the scheme of \(DispatchText.redacted(url)); there are: \(known)"))
    }
    // Who makes a new URL for every event must not fill the memory.
    if targets.count >= 100_000 { targets.removeAll() }
    targets[url] = found
    return found
  }

  private func destination(_ target: DeliveryTarget) -> Destination {
    if let known = destinations[target.url] { return known }
    let server = servers[target.server] ?? DestinationServer(target.server)
    servers[target.server] = server
    let destination = Destination(target, server, parts.metrics.attempts(target.label))
    destinations[target.url] = destination
    return destination
  }

  /// Puts a delivery into its destination's queue, or elsewhere where it has no business there.
  func enqueue(_ job: DeliveryJob, _ now: Instant) {
    guard let destination = job.destination else { return }
    if let mark = mark(job, .disabled) {
      return giveUp(job, .disabled, "the destination is disabled: \(mark.detail)", now)
    }
    if let mark = mark(job, .cancelled), job.firstAt <= mark.at {
      return giveUp(job, .ruleGone, "cancelled: \(mark.detail)", now)
    }
    if let end = endOfRule(job) { return giveUp(job, .ruleGone, end, now) }
    let wall = clock.wallMilliseconds()
    if Duration.milliseconds(max(0, wall - job.firstAt)) > settings.retry.age {
      return giveUp(job, .expired, "it is older than \(settings.retry.age.fractionalSeconds) s", now)
    }
    if job.attempts >= settings.retry.attempts {
      return giveUp(job, .exhausted, "\(job.attempts) attempts have failed", now)
    }
    var isLongBlocked = mark(job, .paused) != nil
    if case .open(let until) = destination.breaker.state, until - now > settings.retry.inMemory { isLongBlocked = true }
    if destination.quietUntil - now > settings.retry.inMemory { isLongBlocked = true }
    destination.concurrency = job.settings.concurrency
    destination.setRate(job.settings.rate, at: now)
    if isLongBlocked || destination.queueCount >= limit(of: destination, now) {
      return store(job, pause: nil, isSpill: true, now)
    }
    job.state = .queued
    destination.append(job, at: now)
    lineUp(destination)
  }

  func mark(_ job: DeliveryJob, _ kind: DispatchMark.Kind) -> DispatchMark? {
    if marks.isEmpty { return nil }
    if let mark = marks[.destination(job.destinationURL)]?[kind] { return mark }
    if let url = job.destination?.target.url, let mark = marks[.destination(url)]?[kind] { return mark }
    if let rule = job.rule, let mark = marks[.rule(rule)]?[kind] { return mark }
    return nil
  }

  /// Puts a destination into the line of those that can start something.
  func lineUp(_ destination: Destination) {
    guard !destination.isInLine, destination.queueCount > 0 else { return }
    destination.isInLine = true
    line.append(destination)
  }

  // MARK: Marks

  func lookAtMarks() {
    let store = parts.store
    let inbox = inbox
    let log = log
    Task {
      do {
        inbox.setMarks(try await store.marks())
        inbox.setTrouble(nil, of: "marks")
      } catch {
        inbox.setTrouble("what is paused, disabled or cancelled cannot be read: \(error)", of: "marks")
        inbox.setNoMarks()
        log.debug("marks cannot be read: \(error)", at: "deduplication")
      }
    }
  }

  func replace(_ all: [DispatchMark], _ now: Instant) {
    goingOn(now) { hasMarks = true }
    marks = [:]
    for mark in all { marks[mark.subject, default: [:]][mark.kind] = mark }
    if marks.isEmpty { return }
    lookAgain(now) { mark($0, .disabled) != nil || mark($0, .cancelled) != nil || mark($0, .paused) != nil }
  }

  /// Looks again at what waits for its turn and is concerned by something new.
  private func lookAgain(_ now: Instant, _ isConcerned: (DeliveryJob) -> Bool) {
    for destination in destinations.values where destination.queueCount > 0 {
      for job in destination.remove(isConcerned) { enqueue(job, now) }
    }
  }

  /// Changes what may hold everything up. That nothing could be tried until now says nothing of how quick destinations are.
  func goingOn(_ now: Instant, _ change: () -> Void) {
    let wasHeldUp = isHeldUp
    change()
    guard wasHeldUp, !isHeldUp else { return }
    for destination in destinations.values { destination.pace.restart(at: now) }
  }

  // MARK: Rules

  func replace(_ standings: RuleStandings, _ now: Instant) {
    goingOn(now) { rules = standings }
    lookAgain(now) { endOfRule($0) != nil }
  }

  /// Why a delivery is not wanted any more by its rule; nil: it is, or nobody wants to know.
  private func endOfRule(_ job: DeliveryJob) -> String? {
    guard let rules, let rule = job.rule else { return nil }
    switch rules.standing(of: rule, at: job.firstAt) {
    case .inForce: return nil
    case .disabled: return "the rule \"\(rule)\" is disabled"
    case .gone: return "the rule \"\(rule)\" was deleted"
    }
  }

  /// The receiver has said that it is gone.
  func disable(_ job: DeliveryJob, _ detail: String) {
    let mark = DispatchMark(
      .destination(job.destinationURL), .disabled, at: clock.wallMilliseconds(), detail: detail)
    marks[mark.subject, default: [:]][mark.kind] = mark
    log.warning(
      "the destination is disabled: \(detail)", at: DispatchText.redacted(job.destinationURL),
      remedy: "databus destinations enable lets deliveries go there again")
    let store = parts.store
    let clock = clock
    let log = log
    let place = DispatchText.redacted(job.destinationURL)
    Task {
      // Until it is stored another process would go on, and ask the same receiver.
      var problem = ""
      for _ in 0..<60 {
        do {
          try await store.set(mark)
          return
        } catch {
          problem = "\(error)"
          try? await clock.sleep(for: .seconds(1))
        }
      }
      log.error(
        "that the destination is disabled could not be stored: \(problem)", at: place,
        remedy: "the next delivery asks the receiver once more; or disable it with databus destinations disable")
    }
  }

  // MARK: Now and then

  /// To be called about once a second.
  func lookBack(_ now: Instant) {
    if !isHeldUp {
      setAsideOld(now)
      makeRoom(now)
    }
    forgetDestinations(now)
    publish()
  }

  private func forgetDestinations(_ now: Instant) {
    guard destinations.count > 1000 else { return }
    for (url, destination) in destinations where !destination.isInLine && destination.isForgettable(at: now) {
      destinations[url] = nil
    }
    for (name, server) in servers where server.active == 0 && server.line.isEmpty {
      if !destinations.values.contains(where: { $0.server === server }) { servers[name] = nil }
    }
  }

  private func publish() {
    parts.metrics.inMemory.set(Int64(jobs.count))
    parts.metrics.underWay.set(Int64(slotsInUse))
    parts.metrics.destinations.set(Int64(destinations.count))
    parts.metrics.openBreakers.set(
      Int64(destinations.values.reduce(0) { $0 + ($1.breaker.state == .closed ? 0 : 1) }))
  }
}
