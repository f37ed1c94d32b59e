import DatabusCore
import Testing

@testable import HTTPDelivery

struct RetryAfterTests {
  /// 1994-11-06T08:48:37Z.
  private let now: Int64 = 784_111_717_000

  @Test(arguments: [
    "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", " \t60 ",
  ])
  func allFormsOfTheSpecificationSayTheSame(_ text: String) {
    #expect(RetryAfter.parse(text, now: now) == .seconds(60))
  }

  @Test func anAsctimeDateMayHaveADayOfTwoDigits() {
    #expect(RetryAfter.parse("Wed Nov 16 08:48:37 1994", now: now) == .seconds(864_000))
  }

  @Test(arguments: [("44", "2044"), ("45", "1945"), ("94", "1994"), ("93", "1993"), ("00", "2000")])
  func aYearOfTwoDigitsIsNotMoreThan50YearsAhead(_ short: String, _ year: String) {
    #expect(
      HTTPDate.milliseconds("Sunday, 06-Nov-\(short) 08:49:37 GMT", now: now)
        == TimeText.milliseconds(rfc3339: "\(year)-11-06T08:49:37Z"))
  }

  @Test(arguments: [
    "", " ", "-1", "+1", "1.5", "1 2", "0x10", "soon", "١", "Sun, 06 Nov 1994 08:49:37 UTC",
    "Sun, 6 Nov 1994 08:49:37 GMT",
    "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 06 Nov 1994 25:49:37 GMT", "Sun, 06 Nov 1994 08:49 GMT",
    "Son, 06 Nov 1994 08:49:37 GMT",
    "Sun, 06 nov 1994 08:49:37 GMT", "Sun, 06 Nov 94 08:49:37 GMT", "Sunday, 06-Nov-1994 08:49:37 GMT",
    "Sun Nov 6 08:49:37 1994",
    "Sun, 06 Nov 1994 08:49:37", "Sun, ,,, GMT", "1994-11-06T08:49:37Z", String(repeating: "9", count: 65),
  ])
  func anythingElseSaysNothing(_ text: String) {
    #expect(RetryAfter.parse(text, now: now) == nil)
  }

  // No argument: it would be printed.
  @Test func aVeryLongValueSaysNothing() {
    #expect(RetryAfter.parse(String(repeating: "a", count: 100_000), now: now) == nil)
  }

  @Test(arguments: ["2147483647", "2147483648", "99999999999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"])
  func whatIsVeryFarIsAYear(_ text: String) {
    #expect(RetryAfter.parse(text, now: now) == RetryAfter.longest)
  }

  @Test(arguments: ["0", "Sun, 06 Nov 1994 08:48:37 GMT", "Thu, 01 Jan 0001 00:00:00 GMT", "Thu Jan  1 00:00:00 1970"])
  func whatHasPassedIsNow(_ text: String) {
    #expect(RetryAfter.parse(text, now: now) == .zero)
  }

  @Test func aLeapSecondIsTaken() {
    #expect(RetryAfter.parse("Sat, 31 Dec 2016 23:59:60 GMT", now: 1_483_228_740_000) == .seconds(60))
  }
}
