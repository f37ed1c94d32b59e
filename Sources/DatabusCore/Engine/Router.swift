import CSystem

/// Routes batches: pure, synchronous, one thread at a time. The same records, table and settings give the same bytes.
struct Router: ~Copyable {
  /// What does not change while a pipeline runs.
  struct Settings: Sendable {
    var limits: Limits
    /// CloudEvents identity is used where an event has one.
    var usesCloudEventsIdentity: Bool
    /// Metadata of a result as headers, too.
    var writesHeaders: Bool
  }

  private let settings: Settings
  /// The events that are on their way through the stages: parsed, looked up, delivered.
  private let stages: UnsafeMutablePointer<Stage>
  private var writer: ResultWriter
  private var matches: RuleMatches

  init(_ settings: Settings) throws(JSONError) {
    self.settings = settings
    writer = ResultWriter()
    matches = RuleMatches()
    stages = .allocate(capacity: Router.stageCount)
    var documents = 0
    do throws(JSONError) {
      while documents < Router.stageCount {
        (stages + documents).initialize(to: Stage(document: try JSONDocument(depth: settings.limits.depth)))
        documents += 1
      }
    } catch {
      stages.deinitialize(count: documents)
      stages.deallocate()
      throw error
    }
  }

  deinit {
    stages.deinitialize(count: Router.stageCount)
    stages.deallocate()
  }

  /// An event between its parsing and its delivery.
  private struct Stage: ~Copyable {
    var document: JSONDocument
    /// The event's type; nil where the record has ended already.
    var type: UnsafeRawBufferPointer?
    var identity = ResultWriter.Identity.position
    var hash: UInt64 = 0

    init(document: consuming JSONDocument) { self.document = document }
  }

  /// A power of two: one event for each step of a look-up in a large table.
  private static let stageCount = 4

  /// Where a batch's results go: hoisted out of the object, so that nothing is retained or checked per event.
  private struct Target {
    let outputs: UnsafeMutablePointer<DeliveryBatch>
    let outstanding: UnsafeMutablePointer<UInt16>
    let lookup: RuleTable.Lookup
    let token: Token
    let timestamp: Int64
    var filtered = 0
    var declined = 0
    var delivered = 0

    @inline(__always)
    func token(at index: Int, ordinal: UInt16 = 0) -> UInt64 {
      Token(tracker: token.tracker, slot: token.slot &+ UInt32(truncatingIfNeeded: index), ordinal: ordinal).rawValue
    }
  }

  /// Routes the records that `routed` holds by its table, and fills in what comes of them.
  mutating func route(_ routed: RoutedBatch) {
    withExtendedLifetime(routed.table) {
      var target = Target(
        outputs: routed.outputs, outstanding: routed.outstanding, lookup: routed.table.lookup,
        token: Token(tracker: routed.tracker, slot: routed.firstSlot), timestamp: routed.timestamp)
      _ = routed.withRecords { records in
        writer.begin(records.assignment.partition)
        let count = records.count
        let lookup = target.lookup
        if lookup.isLarge {
          for index in 0..<count &+ 3 {
            if index < count {
              CrashPoint.takingRecord(records.assignment.partition, records.raw(at: index).position)
              parse(records.raw(at: index), index, records.padding, &target, routed)
            }
            if index >= 1, index &- 1 < count, let hash = hash(at: index &- 1) { lookup.prefetchEntry(hash) }
            if index >= 2, index &- 2 < count, let hash = hash(at: index &- 2) { lookup.prefetchRule(hash) }
            if index >= 3 { deliver(records.raw(at: index &- 3), index &- 3, &target, routed) }
          }
        } else {
          for index in 0..<count {
            let record = records.raw(at: index)
            prefetch(records, index &+ 2)
            CrashPoint.takingRecord(records.assignment.partition, record.position)
            parse(record, index, records.padding, &target, routed)
            deliver(record, index, &target, routed)
          }
        }
      }
      if routed.refusals.count > 1 { routed.refusals.sort { ($0.index, $0.ordinal) < ($1.index, $1.ordinal) } }
      routed.filtered = target.filtered
      routed.declined = target.declined
      routed.delivered = target.delivered
    }
  }

  @inline(__always)
  private func stage(_ index: Int) -> UnsafeMutablePointer<Stage> { stages + (index & (Router.stageCount &- 1)) }

  /// Asks for a record's first bytes: the processor follows a stream by itself, but not from one page to the next.
  @inline(__always)
  private func prefetch(_ records: borrowing RecordBatch, _ index: Int) {
    guard index < records.count, let value = records.raw(at: index).value else { return }
    databus_prefetch(value)
    databus_prefetch(value + 64)
    databus_prefetch(value + 128)
  }

  /// The hash of the type of an event that is on its way; nil where it has ended.
  @inline(__always)
  private func hash(at index: Int) -> UInt64? {
    let stage = stage(index)
    return stage.pointee.type == nil ? nil : stage.pointee.hash
  }

  /// The first stage: parses an event and reads its type.
  @inline(__always)
  private mutating func parse(
    _ record: RawRecord, _ index: Int, _ padding: Int, _ target: inout Target, _ routed: RoutedBatch
  ) {
    let stage = stage(index)
    stage.pointee.type = nil
    guard let value = record.value else {
      // A tombstone says nothing to a rule.
      target.filtered &+= 1
      target.outstanding[index] = 0
      return
    }
    let count = Int(record.valueCount)
    if count == 0 { return refuse(routed, index, .emptyValue, "the value is empty") }
    if count > settings.limits.eventBytes { return refuseSize(routed, index) }
    let code = stage.pointee.document.parse(value, count, padding)
    if code != 0 { return refuse(stage.pointee.document.error(code), routed, index, value, count) }
    guard stage.pointee.document.rootIsObject else {
      return refuse(routed, index, .notObject, "an event is a JSON object")
    }
    let envelope = Envelope(stage.pointee.document, cloudEvents: settings.usesCloudEventsIdentity)
    guard let type = envelope.type, let start = type.baseAddress else { return refuse(envelope, routed, index) }
    stage.pointee.type = type
    stage.pointee.identity = envelope.identity
    stage.pointee.hash = TypeHash.hash(start, type.count)
    if target.lookup.isLarge { target.lookup.prefetchSlot(stage.pointee.hash) }
  }

  /// The last stage: finds the rules of an event and writes its results.
  @inline(__always)
  private mutating func deliver(_ record: RawRecord, _ index: Int, _ target: inout Target, _ routed: RoutedBatch) {
    let stage = stage(index)
    guard let type = stage.pointee.type, let start = type.baseAddress else { return }
    if CrashPoint.skipsSlot(of: record.position) {
      target.outstanding[index] = 0
      return
    }
    let candidates = target.lookup.candidates(start, type.count, hash: stage.pointee.hash, &matches)
    if candidates.isEmpty {
      target.filtered &+= 1
      target.outstanding[index] = 0
      return
    }
    if candidates.count > settings.limits.deliveriesPerEvent,
      passing(candidates, stage) > settings.limits.deliveriesPerEvent
    {
      return refuseFanOut(routed, index, candidates.count)
    }
    let identity = stage.pointee.identity
    var ordinal: UInt16 = 0
    for rule in candidates {
      let layout = rule.layout
      if layout.pointee.hasCode {
        switch deliverWithCode(rule, record, index, ordinal, stage, target, routed) {
        case .declined: continue
        case .refused: break
        case .delivered: target.delivered &+= 1
        }
      } else {
        let output = target.outputs + Int(layout.pointee.sink)
        let start = output.pointee.bytes.count
        writer.append(
          rule, payload: stage.pointee.document.containerBytes, identity: identity, record: record,
          to: &output.pointee.bytes)
        finish(output, start, rule, record, target.timestamp, target.token(at: index, ordinal: ordinal))
        target.delivered &+= 1
      }
      ordinal &+= 1
    }
    target.outstanding[index] = ordinal
    if ordinal == 0 { target.declined &+= 1 }
  }

  /// Adds what is written behind `start` as a delivery.
  @inline(__always)
  private func finish(
    _ output: UnsafeMutablePointer<DeliveryBatch>, _ start: Int, _ rule: RuleReference, _ record: RawRecord,
    _ timestamp: Int64, _ token: UInt64
  ) {
    let end = output.pointee.bytes.count
    var keyOffset = -1
    if let key = record.key {
      keyOffset = end
      output.pointee.bytes.append(key, Int(record.keyCount))
    }
    output.pointee.append(
      valueOffset: start, valueCount: end &- start, keyOffset: keyOffset, keyCount: Int(record.keyCount),
      timestamp: timestamp, token: token)
    if settings.writesHeaders { output.pointee.setHeaders(writer.headers(rule, record)) }
  }

  // MARK: Rules with tests and transforms

  private enum CodeOutcome { case delivered, declined, refused }

  @inline(never)
  private mutating func deliverWithCode(
    _ rule: RuleReference, _ record: RawRecord, _ index: Int, _ ordinal: UInt16, _ stage: UnsafeMutablePointer<Stage>,
    _ target: Target, _ routed: RoutedBatch
  ) -> CodeOutcome {
    let identity = stage.pointee.identity
    guard let owner = rule.owner else { return .declined }
    func refusal(_ reason: DeadLetterReason, _ detail: String) -> CodeOutcome {
      routed.refusals.append(
        .init(index: index, reason: reason, detail: detail, ruleID: owner.id, ordinal: ordinal))
      return .refused
    }
    if let evaluator = owner.evaluator {
      switch evaluator.evaluate(stage.pointee.document) {
      case .pass: break
      case .fail: return .declined
      case .failed(let reason): return refusal(.evaluationFailed, reason)
      }
    }
    let output = target.outputs + Int(rule.layout.pointee.sink)
    let start = output.pointee.bytes.count
    if let transformer = owner.transformer {
      output.pointee.bytes.append(rule.head, Int(rule.layout.pointee.headCount))
      do throws(TransformError) {
        try transformer.transform(stage.pointee.document, into: &output.pointee.bytes)
      } catch {
        output.pointee.bytes.truncate(to: start)
        return refusal(.transformFailed, error.reason)
      }
      writer.appendTail(rule, identity: identity, record: record, to: &output.pointee.bytes)
    } else {
      writer.append(
        rule, payload: stage.pointee.document.containerBytes, identity: identity, record: record,
        to: &output.pointee.bytes)
    }
    finish(output, start, rule, record, target.timestamp, target.token(at: index, ordinal: ordinal))
    return .delivered
  }

  /// How many of the candidates would make a delivery or a dead letter.
  private func passing(
    _ candidates: UnsafeBufferPointer<RuleReference>, _ stage: UnsafeMutablePointer<Stage>
  ) -> Int {
    candidates.count { rule in
      guard let evaluator = rule.owner?.evaluator else { return true }
      return evaluator.evaluate(stage.pointee.document) != .fail
    }
  }

  // MARK: Dead letters

  @inline(never)
  private func refuse(_ routed: RoutedBatch, _ index: Int, _ reason: DeadLetterReason, _ detail: String) {
    routed.outstanding[index] = 1
    routed.refusals.append(
      .init(index: index, reason: reason, detail: detail, ruleID: nil, ordinal: Token.deadLetter))
  }

  @inline(never)
  private func refuseSize(_ routed: RoutedBatch, _ index: Int) {
    refuse(routed, index, .tooLarge, "more than \(settings.limits.eventBytes) bytes (limits.eventBytes)")
  }

  @inline(never)
  private func refuseFanOut(_ routed: RoutedBatch, _ index: Int, _ count: Int) {
    refuse(
      routed, index, .tooManyDeliveries,
      "\(count) rules match; at most \(settings.limits.deliveriesPerEvent) deliveries are made (limits.deliveriesPerEvent)"
    )
  }

  @inline(never)
  private func refuse(
    _ error: JSONError, _ routed: RoutedBatch, _ index: Int, _ value: UnsafeRawPointer, _ count: Int
  ) {
    var detail = error.message
    if error.kind == .tooDeep {
      detail = "nested more than \(settings.limits.depth) deep (limits.depth)"
    } else if error.kind == .notJSON {
      if value.load(as: UInt8.self) == 0 {
        detail =
          "not valid JSON: the value starts with a zero byte, as in Confluent's wire format; use a converter that writes plain JSON"
      } else {
        let bytes = [UInt8](UnsafeRawBufferPointer(start: value, count: count))
        detail = JSONSyntax.describe(error, in: bytes, depth: settings.limits.depth)
      }
    }
    refuse(routed, index, DeadLetterReason(error.kind), detail)
  }

  @inline(never)
  private func refuse(_ envelope: Envelope, _ routed: RoutedBatch, _ index: Int) {
    switch envelope.problem {
    case .typeMissing: refuse(routed, index, .typeMissing, "the event has no member \"type\"")
    case .typeNotString: refuse(routed, index, .typeNotString, "the event's \"type\" is not a string")
    case .repeated(let name): refuse(routed, index, .memberRepeated, "the event's \"\(name)\" stands twice")
    }
  }
}
