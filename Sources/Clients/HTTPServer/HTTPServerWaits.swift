import CMicroHTTPD

#if canImport(Glibc)
  import Glibc
#endif

/// What each connection waits for, and how long it may.
extension HTTPServerLoop {
  /// What a connection waits for, and until when.
  struct Watch {
    enum Wait {
      /// For the client: the rest of a request, the next one, or that it reads.
      case client
      case answer(HTTPExchange)
      /// Until the next piece of a body is due.
      case piece(HTTPPacedBody)
    }

    var deadline: ContinuousClock.Instant
    var wait = Wait.client
  }

  /// How often deadlines are looked at.
  static let sweepInterval = Duration.milliseconds(200)
  /// Linux's POLLRDHUP, which the system's headers hide from Swift.
  private static let hungUp: Int16 = 0x2000

  /// Begins a connection's time anew.
  func watch(_ connection: OpaquePointer) {
    watches[connection] = Watch(deadline: ContinuousClock.now + configuration.transferTimeout)
  }

  func resume(_ connection: OpaquePointer) {
    watch(connection)
    MHD_resume_connection(connection)
  }

  /// Lets those connections go on whose next piece is due.
  func resumePieces() {
    guard let due = nextPiece, ContinuousClock.now >= due else { return }
    nextPiece = nil
    let now = ContinuousClock.now
    var isDue: [OpaquePointer] = []
    for (connection, watch) in watches {
      guard case .piece = watch.wait else { continue }
      if watch.deadline <= now {
        isDue.append(connection)
      } else {
        nextPiece = min(nextPiece ?? watch.deadline, watch.deadline)
      }
    }
    for connection in isDue { resume(connection) }
  }

  /// Ends what takes too long, and what waits for nobody.
  func sweep(isStopping: Bool) {
    let now = ContinuousClock.now
    guard isStopping || now - lastSweep >= HTTPServerLoop.sweepInterval else { return }
    lastSweep = now
    for (connection, watch) in watches {
      switch watch.wait {
      case .answer(let exchange):
        if isStopping {
          exchange.give(.response(HTTPResponse(status: 503, text: "The server stops.\n")))
        } else if now >= watch.deadline {
          exchange.give(.response(HTTPResponse(status: 503, text: "There is no answer yet; try again.\n")))
        }
      case .piece: break
      case .client where now >= watch.deadline:
        // The library sees the end of the connection and forgets it.
        shutdown(databus_mhd_connection_descriptor(connection), Int32(SHUT_RDWR))
        watches[connection]?.deadline = now + configuration.transferTimeout
      case .client: break
      }
    }
    endHungUp()
  }

  /// The library does not look at a connection that sleeps, so it does not see its client go.
  private func endHungUp() {
    var waiting: [OpaquePointer] = []
    var descriptors: [pollfd] = []
    for (connection, watch) in watches {
      if case .client = watch.wait { continue }
      waiting.append(connection)
      descriptors.append(
        pollfd(fd: databus_mhd_connection_descriptor(connection), events: HTTPServerLoop.hungUp, revents: 0))
    }
    guard !waiting.isEmpty, poll(&descriptors, nfds_t(descriptors.count), 0) > 0 else { return }
    for (connection, descriptor) in zip(waiting, descriptors) where descriptor.revents != 0 { end(connection) }
  }

  /// Ends a connection that sleeps.
  private func end(_ connection: OpaquePointer) {
    switch watches[connection]?.wait {
    case .answer(let exchange):
      exchange.give(.end)
      resume(connection)
    case .piece(let body):
      body.cut()
      resume(connection)
    case .client, nil: break
    }
  }

  /// None may sleep when the library stops.
  func endWaits() { for connection in Array(watches.keys) { end(connection) } }

  // MARK: Bodies that take their time

  /// Lets a connection sleep until its next piece is due.
  func pause(_ connection: OpaquePointer, _ body: HTTPPacedBody, for pause: Duration) {
    let due = ContinuousClock.now + pause
    watches[connection] = Watch(deadline: due, wait: .piece(body))
    nextPiece = min(nextPiece ?? due, due)
    MHD_suspend_connection(connection)
  }

  /// A client that goes on reading is not slow, however long it takes.
  func clientTakesMore(_ connection: OpaquePointer) { watch(connection) }
}
