import DatabusCore

/// What is due when: the earliest first.
struct TimerQueue<Item> {
  private var heap: [(at: Instant, item: Item)] = []

  var next: Instant? { heap.first?.at }
  var count: Int { heap.count }

  mutating func add(_ item: Item, at moment: Instant) {
    heap.append((moment, item))
    var child = heap.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      if heap[parent].at <= heap[child].at { break }
      heap.swapAt(parent, child)
      child = parent
    }
  }

  /// The next item that is due at `now`.
  mutating func pop(at now: Instant) -> Item? {
    guard let first = heap.first, first.at <= now else { return nil }
    let last = heap.removeLast()
    if !heap.isEmpty {
      heap[0] = last
      var parent = 0
      while true {
        var least = parent
        for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count && heap[child].at < heap[least].at {
          least = child
        }
        if least == parent { break }
        heap.swapAt(parent, least)
        parent = least
      }
    }
    return first.item
  }
}
