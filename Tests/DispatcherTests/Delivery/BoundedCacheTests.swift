import Testing

@testable import Dispatcher

struct BoundedCacheTests {
  @Test func itNeverHoldsMoreThanItsCapacity() {
    var cache = BoundedCache<Int, Int>(capacity: 8)
    for number in 0..<1000 {
      cache.insert(number, for: number)
      #expect(cache.count <= 8)
      #expect(cache.value(for: number) == number)
    }
    #expect(cache.value(for: 0) == nil)
  }

  @Test func whatIsAskedForStays() {
    var cache = BoundedCache<Int, Int>(capacity: 8)
    cache.insert(-1, for: -1)
    for number in 0..<1000 {
      cache.insert(number, for: number)
      #expect(cache.value(for: -1) == -1)
    }
  }

  @Test func theLastValueOfAKeyCounts() {
    var cache = BoundedCache<Int, Int>(capacity: 4)
    for number in 0..<4 { cache.insert(number, for: number) }
    cache.insert(10, for: 0)
    #expect(cache.value(for: 0) == 10)
    for number in 0..<3 { cache.insert(number, for: 0) }
    #expect(cache.value(for: 0) == 2)
  }
}
