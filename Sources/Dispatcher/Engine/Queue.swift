/// First in, first out. What has been taken is moved out of the way by the hundred.
struct Queue<Element> {
  private var elements: [Element] = []
  /// Those before it have been taken.
  private var first = 0
  private let keptCapacity: Int

  /// - Parameter keptCapacity: memory for so many stays when it is empty.
  init(keptCapacity: Int) { self.keptCapacity = keptCapacity }

  var count: Int { elements.count - first }
  var isEmpty: Bool { count == 0 }

  mutating func append(_ element: Element) { elements.append(element) }
  mutating func append(contentsOf other: [Element]) { elements += other }

  mutating func popFirst() -> Element? {
    guard first < elements.count else { return nil }
    let element = elements[first]
    first += 1
    if first == elements.count {
      elements.removeAll(keepingCapacity: elements.count <= keptCapacity)
      first = 0
    } else if first >= 256 {
      elements.removeFirst(first)
      first = 0
    }
    return element
  }

  /// Takes out what `isUnwanted` says, in order.
  mutating func remove(_ isUnwanted: (Element) -> Bool) -> [Element] {
    let waiting = elements[first...]
    let removed = waiting.filter(isUnwanted)
    if removed.isEmpty { return [] }
    elements = waiting.filter { !isUnwanted($0) }
    first = 0
    return removed
  }

  /// Takes out what stands behind the first `kept`, in order.
  mutating func removeAll(behind kept: Int) -> [Element] {
    guard count > kept else { return [] }
    defer { elements.removeLast(count - kept) }
    return Array(elements[(first + kept)...])
  }
}
