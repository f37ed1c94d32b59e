import DatabusCore

extension MemoryTransport {
  /// Tells this transport's log what is to happen to its streams.
  public var control: Control { Control(log: log) }

  /// What a test makes happen to the streams of a `MemoryLog`: everything a broker does to its clients, on demand.
  ///
  /// Conduct (failures, room, holding) belongs to the stream's name and is the same for all its sources and sinks. Asking
  /// for a partition, member or stream that is not there does nothing and returns false where a method has a result.
  public struct Control: Sendable {
    let log: MemoryLog

    /// What can be told to fail.
    public enum Operation: Hashable, Sendable, CaseIterable {
      /// `EventSource.next`.
      case next
      /// `EventSink.send`: *fatal* and *closed* are thrown, others are the end of all deliveries of that call.
      case send
      case commit, committed, seek, bounds, flush
    }

    private func locked<R>(_ body: () throws -> R) rethrows -> R { try log.lock.locked(body) }

    // MARK: Failures

    /// The next `times` calls fail so; nil: all calls until `recover`. Plans queue up.
    public func fail(_ operation: Operation, on stream: String, with error: TransportError, times: Int? = 1) {
      locked {
        log.conduct(of: stream).plan(operation, error, times: times)
        wake(stream)
      }
    }

    /// Takes back what was planned for an operation.
    public func recover(_ operation: Operation, on stream: String) {
      locked {
        log.conduct(of: stream).recover(operation)
        wake(stream)
      }
    }

    /// Deliveries whose value `matches` end with this error; others go on.
    public func reject(
      on stream: String, with error: TransportError, where matches: @escaping @Sendable ([UInt8]?) -> Bool
    ) {
      locked { log.conduct(of: stream).reject(error, matches) }
    }

    /// Takes all `reject`s back.
    public func acceptAll(on stream: String) {
      locked { log.conduct(of: stream).acceptAll() }
    }

    // MARK: Room and ends

    /// Sinks accept this many more deliveries in all, then have no room; nil: any number again.
    public func limitRoom(on stream: String, to deliveries: Int?) {
      locked { log.conduct(of: stream).limitRoom(deliveries) }
    }

    /// From now on deliveries are accepted and do not end by themselves. false: later ones end at once again, those held
    /// stay so.
    public func holdEnds(on stream: String, _ isHolding: Bool = true) {
      locked { log.conduct(of: stream).isHolding = isHolding }
    }

    /// What is held, in the order of acceptance.
    public func held(on stream: String) -> [HeldDelivery] {
      locked { log.conduct(of: stream).heldDeliveries }
    }

    /// Appends held deliveries and completes them, in the order of `ids`; nil: all.
    public func release(on stream: String, _ ids: [UInt64]? = nil) throws {
      try end(stream, ids, nil, appending: true)
    }

    /// Fails held deliveries, in the order of `ids`; nil: all.
    ///
    /// - Parameter appended: the records are in the stream nevertheless: only the answer was lost.
    public func fail(
      on stream: String, _ ids: [UInt64]? = nil, with error: TransportError, appended: Bool = false
    ) throws {
      try end(stream, ids, error, appending: appended)
    }

    private func end(_ stream: String, _ ids: [UInt64]?, _ error: TransportError?, appending: Bool) throws {
      let ended = try locked {
        let conduct = log.conduct(of: stream)
        defer { for sink in conduct.sinks { sink.wake() } }
        return try conduct.takeHeld(ids, appending: appending)
      }
      for (sink, token) in ended { sink.tell(token, error) }
    }

    // MARK: Assignments

    /// From now on the group assigns nothing by itself: `assign` does. Best said before a member joins.
    public func assignByHand(_ stream: String, group: String) {
      locked { log.topics[stream]?.group(group).isManual = true }
    }

    /// Gives a partition to a member (counted from 0 in the order of joining), whoever had it: that one is told nothing.
    @discardableResult
    public func assign(_ stream: String, group: String, partition: Int, member: Int = 0) -> Bool {
      locked {
        guard let group = self.group(stream, group, partition), group.members.indices.contains(member)
        else { return false }
        group.assign(partition, to: group.members[member])
        return true
      }
    }

    /// Takes a partition away from its owner within the time; what was not released then is lost. Who gets it next is up to
    /// `assign`: the group does nothing by itself any more.
    @discardableResult
    public func revoke(_ stream: String, group: String, partition: Int, within time: Duration) -> Bool {
      locked {
        guard let group = self.group(stream, group, partition), group.owners[partition] != nil else { return false }
        group.isManual = true
        group.revoke(partition, by: log.clock.now() + time)
        return true
      }
    }

    /// Takes a partition away at once. The group does nothing by itself any more.
    @discardableResult
    public func lose(_ stream: String, group: String, partition: Int) -> Bool {
      locked {
        guard let group = self.group(stream, group, partition), group.owners[partition] != nil else { return false }
        group.isManual = true
        group.lose(partition)
        return true
      }
    }

    /// Tells the owner of a partition the assignment that is in force once more.
    @discardableResult
    public func repeatAssignment(_ stream: String, group: String, partition: Int) -> Bool {
      locked {
        guard let owner = self.group(stream, group, partition)?.owners[partition] else { return false }
        owner.member.tellAgain(owner.assignment)
        return true
      }
    }

    /// Divides the partitions as the group would, and lets it do so from now on.
    public func rebalance(_ stream: String, group: String) {
      locked {
        guard let group = log.topics[stream]?.group(group) else { return }
        group.isManual = false
        group.rebalance()
      }
    }

    // MARK: Streams

    /// Adds a partition; groups and readers of the whole stream are told.
    @discardableResult
    public func addPartition(to stream: String) -> PartitionID? {
      locked {
        guard let topic = log.topics[stream] else { return nil }
        let id = topic.addPartition()
        for group in topic.groups.values { group.rebalance() }
        for source in topic.sources where source.group == nil {
          source.take(topic.partitions[id.index], at: 0)
        }
        return id
      }
    }

    /// Deletes a stream with its groups and makes it anew: another incarnation, positions from 0.
    public func recreate(_ stream: String, partitions: Int? = nil) {
      locked {
        let old = log.topics[stream]
        let count = partitions ?? old?.partitions.count ?? 1
        log.removeTopic(stream)
        _ = log.makeTopic(stream, partitions: count, retention: old?.retention ?? .everything)
      }
    }

    /// Removes the records before `position`, as retention does.
    public func truncate(_ stream: String, partition: Int, before position: UInt64) {
      change(stream, partition) { $0.truncate(before: position) }
    }

    /// Lets `positions` records be gone at the end of the log, between those that are there and those to come: told as a gap.
    public func leaveGap(_ stream: String, partition: Int, positions: UInt64) {
      change(stream, partition) { $0.skip(positions, told: true) }
    }

    /// Leaves positions out at the end of the log, as compaction and transaction markers do: no gap, nothing is missing.
    public func skipPositions(_ stream: String, partition: Int, positions: UInt64) {
      change(stream, partition) { $0.skip(positions, told: false) }
    }

    /// The stream is over: sources that have read it to its end tell so.
    public func finish(_ stream: String) {
      locked {
        log.topics[stream]?.isFinished = true
        wake(stream)
      }
    }

    // MARK: Commits

    /// What a group has committed.
    public func committed(_ stream: String, group: String, partition: Int) -> CommittedPosition? {
      locked { log.topics[stream]?.groups[group]?.committed[partition] }
    }

    /// Sets a group's position as an operator does (empty metadata), members alive or not; nil: the commit is gone, as if expired.
    public func setCommitted(
      _ stream: String, group: String, partition: Int, to position: UInt64?, metadata: String = ""
    ) {
      locked {
        log.topics[stream]?.group(group).committed[partition] = position.map {
          CommittedPosition(position: Position(next: $0), metadata: metadata)
        }
      }
    }

    // MARK: Under the lock

    private func group(_ stream: String, _ name: String, _ partition: Int) -> MemoryGroup? {
      guard let topic = log.topics[stream], topic.partitions.indices.contains(partition) else { return nil }
      return topic.groups[name]
    }

    private func change(_ stream: String, _ partition: Int, _ body: (MemoryPartition) -> Void) {
      locked {
        guard let topic = log.topics[stream], topic.partitions.indices.contains(partition) else { return }
        body(topic.partitions[partition])
        topic.wakeSources()
      }
    }

    private func wake(_ stream: String) {
      log.topics[stream]?.wakeSources()
      for sink in log.conduct(of: stream).sinks { sink.wake() }
    }
  }
}
