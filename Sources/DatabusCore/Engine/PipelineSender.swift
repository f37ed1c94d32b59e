/// Sending: batches in the order in which they were read, results before the batch's dead letters; what a sink could not take; sinks
/// that are made anew.
extension Pipeline {
  func sendLoop() async {
    while true {
      await takeFailures()
      if let batch = resequencer.take() {
        await send(batch)
        batchesInRouting -= 1
        progress.changed.notify()
      } else if isSenderDone {
        return
      } else {
        await progress.failed.wait()
      }
    }
  }

  private func send(_ batch: RoutedBatch) async {
    guard progress.route(batch), let assignment = batch.assignment else { return progress.discard(batch) }
    counts.filtered += batch.filtered
    counts.declined += batch.declined
    for output in 0..<batch.outputCount {
      await deliver(batch.outputs + output, to: output, of: batch)
      counts.results += batch.outputs[output].count
      if outputs[output].capabilities.keepsAccepted { batch.letGo(of: output) }
    }
    for refusal in batch.refusals {
      let token = Token(
        tracker: batch.tracker, slot: batch.firstSlot &+ UInt32(truncatingIfNeeded: refusal.index),
        ordinal: refusal.ordinal)
      let letter = letter(
        for: batch, at: refusal.index, assignment, reason: refusal.reason, detail: refusal.detail,
        ruleID: refusal.ruleID)
      if let letter { await deadLetter(letter, token: token.rawValue) }
    }
    progress.release(batch)
  }

  /// Hands all of `deliveries` to a sink, waiting for room. Ends early where the batch's assignment is gone or the pipeline gives up.
  ///
  /// - Parameter batch: nil for deliveries that are sent once more.
  /// - Returns: false where such deliveries met a sink that had to be made anew: what was unconfirmed has to be sent again from
  ///   the first one on, or the order would be lost.
  @discardableResult
  private func deliver(
    _ deliveries: UnsafeMutablePointer<DeliveryBatch>, to output: Int, of batch: RoutedBatch?
  ) async -> Bool {
    var start = 0
    let count = deliveries.pointee.count
    batch?.setAcceptedCount(0, of: output)
    while start < count {
      if let batch, !progress.isTracked(batch.tracker) { return true }
      let port = outputs[output].port
      do {
        let accepted = try outputs[output].sink.send(deliveries.pointee, from: start)
        start += accepted
        batch?.setAcceptedCount(start, of: output)
        CrashPoint.sentAndUnconfirmed()
        if accepted == 0 { try await outputs[output].sink.writable() }
      } catch let error as TransportError {
        switch error.class {
        case .closed where isGivingUp: return true
        case .fatal, .closed:
          // While this one waited for room, another may have made the sink anew.
          let isFirst = outputs[output].port === port
          if isFirst { await makeAnew(output, error.message) }
          if batch == nil { return false }
          if isFirst { await sendAllAgain(to: output) }
        case .transport, .record: await report(outputs[output].stream.stream, error.message, .milliseconds(500))
        }
        continue
      } catch {
        await report(outputs[output].stream.stream, "\(error)", .milliseconds(500))
        continue
      }
      endTrouble(of: output)
      if start < count { await takeFailures() }
    }
    return true
  }

  /// A sink that works is in no trouble; one that failed deliveries has to confirm something first, for accepting is easy.
  private func endTrouble(of output: Int) {
    if let count = failingSinks[output] {
      guard outputs[output].port.confirmations != count else { return }
      failingSinks[output] = nil
    }
    troubles[outputs[output].stream.stream] = nil
  }

  /// Looks whether sinks have recovered that nothing more is sent to, and whether one is stuck that goes on trying by itself.
  func lookAtSinks() {
    for output in Array(failingSinks.keys) { endTrouble(of: output) }
    for output in outputs {
      let stream = output.stream.stream
      if let trouble = output.sink.trouble {
        if troubles.updateValue(trouble, forKey: stream) != trouble {
          log.error(trouble, at: stream, remedy: "it is tried again without limit; nothing is lost meanwhile")
        }
        stuckSinks.insert(stream)
      } else if stuckSinks.remove(stream) != nil {
        troubles[stream] = nil
        log.info("records are taken again", at: stream)
      }
    }
  }

  // MARK: What a sink could not take

  private func takeFailures() async {
    let failures = progress.takeFailures()
    if failures.isEmpty { return }
    var repeats: [Int: [UInt64]] = [:]
    var messages: [Int: String] = [:]
    var fatal: [Int: String] = [:]
    for failure in failures where !progress.hasEnded(Token(failure.token)) {
      switch failure.error.class {
      case .record: await reject(failure)
      case .transport, .closed:
        repeats[failure.sink, default: []].append(failure.token)
        if failure.error.class == .transport { messages[failure.sink] = failure.error.message }
      case .fatal: fatal[failure.sink] = failure.error.message
      }
    }
    for (output, message) in fatal {
      repeats[output] = nil
      await makeAnew(output, message)
      await sendAllAgain(to: output)
    }
    for (output, tokens) in repeats where !isGivingUp {
      failingSinks[output] = outputs[output].port.confirmations
      await report(outputs[output].stream.stream, messages[output] ?? "the sink is away", .milliseconds(200))
      await sendAgain(tokens, to: output)
    }
  }

  /// A record that its stream can never take becomes a dead letter; a dead letter that is refused parks its partition.
  private func reject(_ failure: Progress.Failure) async {
    let token = Token(failure.token)
    if failure.sink == deadLetterOutput {
      guard letters[failure.token] != nil else { return }
      refusedLetters[failure.token] = clock.now() + Pipeline.parkedRetry
      if let assignment = progress.assignment(token.tracker) {
        await park(
          assignment, by: .deadLetter,
          "a dead letter is refused by \(outputs[failure.sink].stream.stream): \(failure.error.message); it is tried again every 5 s"
        )
      }
      return
    }
    guard let (batch, index) = progress.holdBatch(of: token), let assignment = batch.assignment else { return }
    var ruleID: String?
    // The result names its rule; looking for it is no cost that matters here.
    let deliveries = batch.outputs + failure.sink
    for place in 0..<deliveries.pointee.count where deliveries.pointee.token(at: place) == failure.token {
      ruleID = deliveries.pointee.ruleID(at: place)
    }
    let letter = letter(
      for: batch, at: index, assignment, reason: .sinkRejected,
      detail: "\(outputs[failure.sink].stream.stream): \(failure.error.message)", ruleID: ruleID)
    if let letter { await deadLetter(letter, token: failure.token) }
    progress.release(batch)
  }

  private func sendAgain(_ tokens: [UInt64], to output: Int) async {
    let wanted = Set(tokens)
    if !(await sendOnceMore(to: output) { wanted.contains($0) }) { await sendAllAgain(to: output) }
  }

  /// Sends everything again that a sink had accepted and not confirmed.
  private func sendAllAgain(to output: Int) async {
    while !isGivingUp, !(await sendOnceMore(to: output) { _ in true }) {}
  }

  /// Sends deliveries that a sink had accepted once more, in order. What it had not is not sent yet: that is the sender's to do.
  /// False where the sink was made anew meanwhile: then nothing is sent that would stand before what is lost.
  private func sendOnceMore(to output: Int, _ isWanted: (UInt64) -> Bool) async -> Bool {
    if output == deadLetterOutput {
      for (token, letter) in letters where isWanted(token) && !progress.hasEnded(Token(token)) {
        if !(await sendCopy(of: letter, token: token)) { return false }
      }
      return true
    }
    let batches = progress.holdAllBatches()
    var isComplete = true
    for batch in batches where isComplete {
      let deliveries = batch.outputs + output
      var again = DeliveryBatch()
      for index in 0..<batch.acceptedCount(of: output) {
        let token = deliveries.pointee.token(at: index)
        guard isWanted(token), letters[token] == nil, !progress.hasEnded(Token(token)) else { continue }
        again.append(copyOf: index, in: deliveries.pointee)
      }
      isComplete = await deliverCopy(again, to: output)
    }
    for batch in batches { progress.release(batch) }
    return isComplete
  }

  private func deliverCopy(_ batch: consuming DeliveryBatch, to output: Int) async -> Bool {
    if batch.isEmpty { return true }
    let copy = UnsafeMutablePointer<DeliveryBatch>.allocate(capacity: 1)
    copy.initialize(to: batch)
    let isComplete = await deliver(copy, to: output, of: nil)
    copy.deinitialize(count: 1)
    copy.deallocate()
    return isComplete
  }

  /// Makes a sink anew. What it had not confirmed is sent again by the caller.
  private func makeAnew(_ output: Int, _ message: String) async {
    let stream = outputs[output].stream
    log.error(
      "the sink has failed and is made anew: \(message)", at: stream.stream,
      remedy: "what it had not confirmed is sent again; if this goes on, look at the transport")
    outputs[output].port.close()
    await outputs[output].sink.close()
    // A sink that fails again at once is not made anew in a busy loop.
    if let last = remadeAt[output], clock.now() - last < .seconds(1) {
      await report(stream.stream, message, .milliseconds(200))
    }
    remadeAt[output] = clock.now()
    var pause = Duration.milliseconds(100)
    while !isGivingUp {
      do {
        outputs[output] = try await makeOutput(stream, output)
        failingSinks[output] = nil
        break
      } catch {
        await report(stream.stream, "\(error)", pause)
        pause = min(pause * 2, .seconds(5))
      }
    }
    // Nobody would close it otherwise, and the sender could wait for its room for ever.
    if isGivingUp { await outputs[output].sink.close() }
  }

  // MARK: Dead letters

  /// Bytes of dead letters on their way, at most.
  private static let maximumLetterBytes = 16 << 20

  /// Sends a dead letter and keeps it until it is safe.
  func deadLetter(_ letter: DeadLetterWriter.Letter, token: UInt64) async {
    counts.deadLetters += 1
    metrics.deadLetters(letter.reason).add(1)
    letters[token] = letter
    letterBytes += letter.byteCount
    await sendLetter(letter, token: token)
    while letterBytes > Pipeline.maximumLetterBytes, !isGivingUp {
      // Sinks that confirm when they are flushed are flushed by a checkpoint.
      checkpointSignal.notify()
      progress.expectChange()
      dropSafeLetters()
      if letterBytes <= Pipeline.maximumLetterBytes { return }
      await takeFailures()
      await progress.changed.wait(for: .milliseconds(20), clock)
    }
  }

  private func sendLetter(_ letter: DeadLetterWriter.Letter, token: UInt64) async {
    if !(await sendCopy(of: letter, token: token)) { await sendAllAgain(to: deadLetterOutput) }
  }

  private func sendCopy(of letter: DeadLetterWriter.Letter, token: UInt64) async -> Bool {
    var batch = DeliveryBatch(capacity: 8)
    DeadLetterWriter(capabilities: outputs[deadLetterOutput].capabilities).append(
      letter, timestamp: clock.wallMilliseconds(), token: token, to: &batch)
    return await deliverCopy(batch, to: deadLetterOutput)
  }

  /// Forgets dead letters that have ended.
  func dropSafeLetters() {
    if letters.isEmpty { return }
    letters = letters.filter { !progress.hasEnded(Token($0.key)) }
    letterBytes = letters.values.reduce(0) { $0 + $1.byteCount }
  }

  /// Sends dead letters again that were refused. A partition goes on once none of its own is refused any more.
  func retryRefusedLetters() async {
    let now = clock.now()
    for (token, retry) in refusedLetters {
      guard let letter = letters[token], !progress.hasEnded(Token(token)) else {
        refusedLetters[token] = nil
        continue
      }
      if retry > now { continue }
      refusedLetters[token] = now + Pipeline.parkedRetry
      await sendLetter(letter, token: token)
    }
    for partition in partitions.values where partition.parkedBy == .deadLetter {
      let isRefused = refusedLetters.keys.contains {
        Token($0).tracker == partition.tracker && !progress.hasEnded(Token($0))
      }
      if !isRefused { await unpark(partition.assignment) }
    }
  }

  private func letter(
    for batch: RoutedBatch, at index: Int, _ assignment: Assignment, reason: DeadLetterReason, detail: String,
    ruleID: String?
  ) -> DeadLetterWriter.Letter? {
    batch.withRecords { records in
      let raw = records.raw(at: index)
      return DeadLetterWriter.Letter(
        partition: assignment.partition, position: raw.position,
        timestamp: raw.timestamp == RawRecord.noTimestamp ? nil : raw.timestamp, reason: reason, detail: detail,
        place: records.storage.place(of: index), ruleID: ruleID,
        key: raw.key.map { [UInt8](UnsafeRawBufferPointer(start: $0, count: Int(raw.keyCount))) },
        value: raw.value.map { [UInt8](UnsafeRawBufferPointer(start: $0, count: Int(raw.valueCount))) },
        headers: records.headers(at: index))
    }
  }
}
