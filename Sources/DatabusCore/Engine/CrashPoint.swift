#if DATABUS_FAULTS
  import Synchronization

  #if canImport(Glibc)
    import Glibc
  #endif
#endif

/// Named places at which the fault suite kills the process, and defects that it injects. A build without `DATABUS_FAULTS`
/// has none of it: the calls are empty, and the names do not stand in the binary.
package enum CrashPoint {
  #if DATABUS_FAULTS
    private enum Arming {
      /// The process ends at the count-th time the place is reached.
      case place(name: String, count: Int)
      /// The process ends when the record at this locator is routed, or taken as a rule.
      case record(partition: String, position: UInt64)
    }

    /// `DATABUS_CRASH_AT`: `name:count`, or `record:stream/partition/position`.
    private static let armed: Arming? = {
      guard let text = getenv("DATABUS_CRASH_AT").map({ String(cString: $0) }) else { return nil }
      if text.hasPrefix("record:") {
        let locator = text.dropFirst("record:".count)
        guard let slash = locator.lastIndex(of: "/"), let position = UInt64(locator[locator.index(after: slash)...])
        else { return refuse(text) }
        return .record(partition: String(locator[..<slash]), position: position)
      }
      guard let colon = text.lastIndex(of: ":"), let count = Int(text[text.index(after: colon)...]) else {
        return refuse(text)
      }
      return .place(name: String(text[..<colon]), count: count)
    }()
    private static let reached = Mutex(0)
    package static let defect: String? = getenv("DATABUS_DEFECT").map { String(cString: $0) }

    /// A test that arms nothing by mistake would pass: such a process does not run.
    private static func refuse(_ text: String) -> Arming? {
      say("databus: the crash point \"\(text)\" cannot be read")
      exit(2)
    }

    private static func say(_ text: String) {
      let line = text + "\n"
      _ = line.withCString { write(2, $0, strlen($0)) }
    }

    private static func end(at name: String) {
      say("databus: crash point \(name) reached")
      kill(getpid(), SIGKILL)
    }

    package static func pass(_ name: String) {
      guard case .place(name, let wanted)? = armed else { return }
      let count = reached.withLock { count in
        count += 1
        return count
      }
      if count == wanted { end(at: name) }
    }

    /// Two words in a file that the suite maps too (`DATABUS_OPEN_SLOTS`): what they held when the process was killed stays.
    private nonisolated(unsafe) static let gauge: UnsafeMutablePointer<UInt64>? = {
      guard let path = getenv("DATABUS_OPEN_SLOTS") else { return nil }
      let descriptor = open(path, O_RDWR | O_CLOEXEC)
      guard descriptor >= 0 else { return nil }
      defer { close(descriptor) }
      let memory = mmap(nil, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0)
      guard memory != MAP_FAILED else { return nil }
      return memory?.bindMemory(to: UInt64.self, capacity: 512)
    }()
  #endif

  @inline(__always)
  static func sentAndUnconfirmed() {
    #if DATABUS_FAULTS
      pass("sent-and-unconfirmed")
    #endif
  }

  @inline(__always)
  static func confirmedAndNotApplied() {
    #if DATABUS_FAULTS
      pass("confirmed-and-not-applied")
    #endif
  }

  @inline(__always)
  static func appliedAndNotCommitted() {
    #if DATABUS_FAULTS
      pass("applied-and-not-committed")
    #endif
  }

  @inline(__always)
  static func duringRestore() {
    #if DATABUS_FAULTS
      pass("during-restore")
    #endif
  }

  @inline(__always)
  static func atAssignment() {
    #if DATABUS_FAULTS
      pass("at-assignment")
    #endif
  }

  @inline(__always)
  static func inRevokeWindow() {
    #if DATABUS_FAULTS
      pass("in-revoke-window")
    #endif
  }

  /// A record is about to be routed, or to be taken as a rule.
  @inline(__always)
  static func takingRecord(_ partition: @autoclosure () -> PartitionID, _ position: UInt64) {
    #if DATABUS_FAULTS
      guard case .record(let wanted, position)? = armed, partition().description == wanted else { return }
      end(at: "record:\(wanted)/\(position)")
    #endif
  }

  /// Tells the suite how many slots are open, and how far events have been read.
  @inline(__always)
  static func note(open: @autoclosure () -> Int, read: UInt64? = nil) {
    #if DATABUS_FAULTS
      guard let gauge else { return }
      gauge[0] = UInt64(open())
      if let read { gauge[1] = read }
      gauge[2] &+= 1
    #endif
  }

  /// A defect for the checker to find: checkpoints take the highest position seen.
  @inline(__always)
  static var commitsHighestPosition: Bool {
    #if DATABUS_FAULTS
      return defect == "commit-highest"
    #else
      return false
    #endif
  }

  /// A defect for the checker to find: now and then a slot is closed without its deliveries having been sent.
  @inline(__always)
  static func skipsSlot(of position: UInt64) -> Bool {
    #if DATABUS_FAULTS
      return defect == "skip-slot" && position % 997 == 0
    #else
      return false
    #endif
  }
}
