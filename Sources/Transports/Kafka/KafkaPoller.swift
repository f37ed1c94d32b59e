import CRdkafka
import DatabusCore
import Synchronization

#if canImport(Glibc)
  import Glibc
#endif

/// Serves a consumer's common queue on a thread of its own: rebalances, errors, and the end.
///
/// Nobody else polls it, so heartbeats and rebalances go on whatever the engine waits for.
final class KafkaPoller: @unchecked Sendable {
  // Sendable: `queue` is librdkafka's and safe on any thread; everything else that changes is guarded by a lock.
  private let client: KafkaClient
  private let subscription: KafkaSubscription
  private let incarnation: String
  private let capacity: Int
  private let queue: OpaquePointer
  private let thread = WorkerThread(name: "kafka-poll")
  private let task = Mutex<Task<Void, Never>?>(nil)
  private let isStopping = Atomic(false)
  /// Until the consumer is closed.
  private let isQueueThere = Mutex(true)
  /// The partitions that librdkafka fetches. Whoever holds it may change librdkafka's assignment.
  private let fetching = Mutex<Set<Int>>([])
  private let wasAssigned = Atomic(false)
  /// Tests hold the polling up, as a process that hangs does.
  let isSuspended = Atomic(false)

  /// A partition that was given back without being asked for is taken in again after this, where it is still ours.
  private static let returnPause = Duration.seconds(5)

  init?(_ client: KafkaClient, _ subscription: KafkaSubscription, incarnation: String, capacity: Int) {
    // The main queue's events come here, too.
    rd_kafka_poll_set_consumer(client.handle)
    guard let queue = rd_kafka_queue_get_consumer(client.handle) else { return nil }
    self.client = client
    self.subscription = subscription
    self.incarnation = incarnation
    self.capacity = capacity
    self.queue = queue
  }

  func start() {
    let task = Task.detached(executorPreference: thread) { [self] in
      while !isStopping.load(ordering: .relaxed) { serve(queue, 100) }
    }
    self.task.withLock { $0 = task }
  }

  /// Has the thread look at what has changed.
  func wake() { isQueueThere.withLock { if $0 { rd_kafka_queue_yield(queue) } } }

  private func serve(_ queue: OpaquePointer, _ milliseconds: Int32) {
    if isSuspended.load(ordering: .relaxed) {
      usleep(10_000)
      return
    }
    if let event = rd_kafka_queue_poll(queue, milliseconds) {
      switch rd_kafka_event_type(event) {
      case RD_KAFKA_EVENT_REBALANCE: rebalance(event)
      case RD_KAFKA_EVENT_ERROR: noteError(event)
      case RD_KAFKA_EVENT_STATS: noteStatistics(event)
      default: break
      }
      rd_kafka_event_destroy(event)
    }
    finishRevocation()
    takeReturned()
  }

  private func noteError(_ event: OpaquePointer) {
    client.condition.note(event)
    let code = rd_kafka_event_error(event)
    if code == RD_KAFKA_RESP_ERR__FATAL {
      let what = "The topic \"\(subscription.topic)\" cannot be read"
      subscription.tell { $0.fatal = client.fatalSentence(what) ?? "\(what): librdkafka has failed." }
    } else if code == RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED {
      client.log.error(
        "this process was silent for too long and has lost its partitions", at: subscription.topic,
        remedy: "it joins again by itself; look for what stopped it (a stopped process, no processor time)")
      subscription.signal.notify()
    } else {
      subscription.signal.notify()
    }
  }

  private func noteStatistics(_ event: OpaquePointer) {
    guard let text = rd_kafka_event_stats(event) else { return }
    client.log.info("librdkafka's statistics", at: subscription.topic, [LogField("statistics", String(cString: text))])
  }

  // MARK: Rebalances

  private func rebalance(_ event: OpaquePointer) {
    guard let list = rd_kafka_event_topic_partition_list(event) else { return }
    let indices = PartitionList.entries(list).map(\.index)
    if rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
      assign(indices)
    } else if rd_kafka_assignment_lost(client.handle) != 0 || isStopping.load(ordering: .relaxed) {
      lose(Set(indices))
    } else {
      revoke(indices)
    }
  }

  private func assign(_ indices: [Int]) {
    wasAssigned.store(true, ordering: .relaxed)
    client.condition.noteProgress()
    // Nothing is fetched yet: the engine says from where. The group only needs to hear that its assignment was taken.
    let problem = fetching.withLock { _ in
      add([])
    }
    if let problem { refuse(problem) }
    subscription.tell { state in
      state.owned.formUnion(indices)
      take(indices, &state)
    }
  }

  /// Makes assignments of partitions of the group.
  private func take(_ indices: [Int], _ state: inout KafkaSubscription.State) {
    state.generation += 1
    let generation = state.generation
    let cursors = indices.compactMap { index in
      makeCursor(index, generation, start: nil)
    }
    state.assign(cursors)
    for index in indices { state.returned[index] = nil }
  }

  func makeCursor(_ index: Int, _ generation: UInt64, start: UInt64?) -> KafkaSubscription.Cursor? {
    guard
      let queue = PartitionQueue(
        client, subscription.topic, index, capacity: capacity, signal: subscription.signal)
    else { return nil }
    let partition = PartitionID(stream: subscription.topic, incarnation: incarnation, index: index)
    return KafkaSubscription.Cursor(
      assignment: Assignment(partition: partition, generation: generation), queue: queue, start: start)
  }

  /// They belong to somebody else already.
  private func lose(_ indices: Set<Int>) {
    subscription.tell { state in
      state.revocation = nil
      state.lose(indices)
    }
    unassign(indices)
  }

  private func revoke(_ indices: [Int]) {
    let deadline = SystemClock().now() + client.options.revocationWindow
    let isOver = subscription.state.withLock { state in
      var leaving: [Assignment] = []
      for place in state.cursors.indices where indices.contains(state.cursors[place].index) {
        state.cursors[place].isRevoking = true
        leaving.append(state.cursors[place].assignment)
      }
      state.owned.subtract(indices)
      state.revocation = KafkaSubscription.Revocation(assignments: leaving, deadline: deadline)
      if !leaving.isEmpty { state.notices.append(.revoking(leaving, deadline: deadline)) }
      return leaving.isEmpty
    }
    revoked.withLock { $0 = Set(indices) }
    if isOver { finishRevocation() } else { subscription.signal.notify() }
  }

  /// The partitions of the revocation under way, whether the engine had them or not.
  private let revoked = Mutex<Set<Int>>([])

  /// Tells the group that partitions may go, once the engine has given them back, or their time is over.
  private func finishRevocation() {
    let now = SystemClock().now()
    let isLost = rd_kafka_assignment_lost(client.handle) != 0
    let isDone = subscription.state.withLock { state -> Bool in
      guard let revocation = state.revocation else { return false }
      let rest = revocation.assignments.filter { state.place(of: $0) != nil }
      guard rest.isEmpty || now >= revocation.deadline || isLost else { return false }
      state.revocation = nil
      if !rest.isEmpty { state.lose(Set(rest.map(\.partition.index))) }
      return true
    }
    guard isDone else { return }
    let indices = revoked.withLock { indices in
      defer { indices = [] }
      return indices
    }
    unassign(indices)
    subscription.signal.notify()
  }

  private func unassign(_ indices: Set<Int>) {
    let problem = fetching.withLock { fetching in
      let gone = fetching.intersection(indices)
      fetching.subtract(gone)
      return remove(gone.sorted())
    }
    if let problem { refuse(problem) }
  }

  /// A partition that the engine gave back though the group has not asked for it would be nobody's: it is assigned once more.
  private func takeReturned() {
    let now = SystemClock().now()
    let isTaken = subscription.state.withLock { state in
      let due = state.returned.filter { $0.value + KafkaPoller.returnPause <= now }.keys.sorted()
      if due.isEmpty || state.isClosed { return false }
      let ours = due.filter { state.owned.contains($0) }
      for index in due { state.returned[index] = nil }
      if !ours.isEmpty { take(ours, &state) }
      return true
    }
    if isTaken { subscription.signal.notify() }
  }

  private func refuse(_ problem: KafkaError) {
    client.log.warning(
      "a rebalance was refused: \(problem.reason)", at: subscription.topic,
      remedy: "the group divides its partitions anew by itself; if it goes on, look at the broker's log")
  }

  /// Adds to librdkafka's assignment. The caller holds `fetching`.
  private func add(_ partitions: [(index: Int, offset: Int64)]) -> KafkaError? {
    PartitionList(subscription.topic, partitions).withPointer {
      KafkaError(rd_kafka_incremental_assign(client.handle, $0))
    }
  }

  /// Removes from librdkafka's assignment. The caller holds `fetching`.
  private func remove(_ indices: [Int]) -> KafkaError? {
    PartitionList(subscription.topic, indices).withPointer {
      KafkaError(rd_kafka_incremental_unassign(client.handle, $0))
    }
  }

  // MARK: Fetching

  /// Has librdkafka fetch a partition from an offset on, whatever it has fetched of it before.
  ///
  /// - Parameter isWanted: asked once nobody else can change the assignment.
  /// - Returns: false where it was not wanted any more.
  func fetch(_ index: Int, from offset: Int64, isWanted: () -> Bool) throws(KafkaError) -> Bool {
    let result: Result<Bool, KafkaError> = fetching.withLock { fetching in
      guard isWanted() else { return .success(false) }
      if fetching.remove(index) != nil, let problem = remove([index]) { return .failure(problem) }
      if let problem = add([(index, offset)]) { return .failure(problem) }
      fetching.insert(index)
      return .success(true)
    }
    return try result.get()
  }

  /// Stops the fetching of partitions that stay ours.
  func stopFetching(_ indices: Set<Int>) {
    let isAny = fetching.withLock { !$0.isDisjoint(with: indices) }
    if isAny { unassign(indices) }
  }

  // MARK: The end

  /// Has the group take everything away in good order; for tests.
  func leaveInGoodOrder() { rd_kafka_unsubscribe(client.handle) }

  /// Leaves the group and ends the thread. Nothing is committed.
  func stop(leavesGroup: Bool) async {
    isStopping.store(true, ordering: .relaxed)
    wake()
    let task = task.withLock { $0 }
    await task?.value
    let closing = Task.detached(executorPreference: thread) { [self] in
      if leavesGroup { waitForAssignment() }
      // librdkafka wants the consumer's queue back before a consumer is closed.
      isQueueThere.withLock { $0 = false }
      rd_kafka_queue_destroy(queue)
      if leavesGroup { leave() } else { unassign(fetching.withLock { $0 }) }
    }
    await closing.value
    thread.stop()
  }

  /// Where librdkafka has a defect there, a member is given the time to get an assignment before it leaves; where none comes, its
  /// client is left behind rather than destroyed.
  private func waitForAssignment() {
    guard KafkaClient.needsAssignmentBeforeEnd, !wasAssigned.load(ordering: .relaxed) else { return }
    let deadline = SystemClock().now() + .seconds(4)
    while !wasAssigned.load(ordering: .relaxed), !client.condition.isTroubled, SystemClock().now() < deadline {
      serve(queue, 20)
    }
    if !wasAssigned.load(ordering: .relaxed) { client.abandon() }
  }

  private func leave() {
    guard let queue = rd_kafka_queue_new(client.handle) else { return }
    defer { rd_kafka_queue_destroy(queue) }
    guard KafkaError(rd_kafka_consumer_close_queue(client.handle, queue)) == nil else { return }
    let deadline = SystemClock().now() + .seconds(10)
    while rd_kafka_consumer_closed(client.handle) == 0, SystemClock().now() < deadline { serve(queue, 20) }
  }
}
