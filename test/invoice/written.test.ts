/** Amounts, dates and account numbers as they are written. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { calendarDate, decimal, exact, ibanShape, leadingIban } from "../../src/invoice/values.ts";
import { leadingDate, writtenMoney } from "../../src/invoice/written.ts";

describe("amounts", () => {
  test.each([
    ["1.234,56", "1234.56", null],
    ["1,234.56", "1234.56", null],
    ["1 234,56", "1234.56", null],
    ["1\u00a0234,56", "1234.56", null],
    ["1'234.56", "1234.56", null],
    ["1’234.56", "1234.56", null],
    ["1.234.567,89", "1234567.89", null],
    ["€ 12.00", "12.00", "EUR"],
    ["12,00 €", "12.00", "EUR"],
    ["EUR12.00", "12.00", "EUR"],
    ["12.00 USD", "12.00", "USD"],
    ["US$ 5", "5", "USD"],
    ["$5.00", "5.00", null],
    ["-12.00", "-12.00", null],
    ["12,00-", "-12.00", null],
    ["€ -12.00", "-12.00", "EUR"],
    ["119,-- €", "119", "EUR"],
    ["1.234.567 €", "1234567", "EUR"],
    ["007.50", "7.50", null],
  ])("%s", (written, amount, currency) => {
    expect(writtenMoney(written)).toEqual({ amount, currency });
  });

  test.each([
    "1.234",
    "€ 1.234",
    "1,234",
    "12",
    "1.2.3",
    "1.234,567",
    "1,234,56",
    "1.234.56",
    "12.00.2026",
    "03.04.2026",
    "19 %",
    "19.00 %",
    "12.00a",
    "",
    "€",
    "QQQ 5.00",
  ])("%j is none, or not certain", (written) => {
    expect(writtenMoney(written)).toBeNull();
  });

  test("every amount is read back in every style", () => {
    fc.assert(
      fc.property(
        fc.nat(999_999_999_99),
        fc.constantFrom([".", ","], [",", "."], [" ", ","], ["'", "."], ["", ","], ["", "."]),
        (cents, [group, point]) => {
          const whole = String(Math.floor(cents / 100));
          const fraction = String(cents % 100).padStart(2, "0");
          const grouped = whole.replace(/\B(?=(\d{3})+$)/g, group ?? "");
          expect(writtenMoney(`${grouped}${point}${fraction}`)?.amount).toBe(`${whole}.${fraction}`);
        },
      ),
    );
  });

  test("an XML decimal keeps its digits", () => {
    expect(["1190.00", "+5", "-0.5", ".5", "5.", "-.5"].map(decimal)).toEqual(["1190.00", "5", "-0.5", "0.5", "5", "-0.5"]);
    expect(["", ".", "-", "1e3", "1,5", "NaN", "1 000", null].map(decimal)).toEqual(Array(8).fill(null));
    expect(exact("-1.5")).toBe(-exact("1.50"));
    expect(exact("0.1") + exact("0.2")).toBe(exact("0.3"));
  });
});

describe("dates", () => {
  test.each([
    ["2026-04-03", "2026-04-03"],
    ["03.04.2026", "2026-04-03"],
    ["3.4.2026", "2026-04-03"],
    ["03.04.26", "2026-04-03"],
    ["3 April 2026", "2026-04-03"],
    ["April 3, 2026", "2026-04-03"],
    ["Apr. 3rd, 2026", "2026-04-03"],
    ["3. März 2026", "2026-03-03"],
    ["1er août 2026", "2026-08-01"],
    ["03-Apr-2026", "2026-04-03"],
    ["Friday, 3 April 2026", "2026-04-03"],
    ["13/04/2026", "2026-04-13"],
    ["04/13/2026", "2026-04-13"],
    ["04/04/2026", "2026-04-04"],
    ["2026-04-03, 10:00", "2026-04-03"],
  ])("%s", (written, expected) => {
    expect(leadingDate(written)).toBe(expected);
  });

  test.each(["03/04/2026", "2026-02-30", "31.04.2026", "3 Brumaire 2026", "April 2026", "0012-01-01", "2026-04-031", "", "soon"])(
    "%j is none, or not certain",
    (written) => {
      expect(leadingDate(written)).toBeNull();
    },
  );

  test("a leap day exists in leap years only", () => {
    expect([calendarDate(2024, 2, 29), calendarDate(2026, 2, 29), calendarDate(2026, 4, 0)]).toEqual(["2024-02-29", null, null]);
  });
});

describe("account numbers", () => {
  test("an IBAN ends where its country says, whatever follows", () => {
    expect(leadingIban("DE79 0000 0000 1234 5678 90 BIC GENODEF1XXX")).toBe("DE79000000001234567890");
    expect(leadingIban("GB82 WEST 1234 5698 7654 32")).toBe("GB82WEST12345698765432");
  });

  test("a changed digit is found", () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 21 }), fc.integer({ min: 1, max: 9 }), (at, by) => {
        const iban = "DE79000000001234567890";
        const changed = iban.slice(0, at) + ((Number(iban[at]) + by) % 10) + iban.slice(at + 1);
        expect(leadingIban(changed)).toBeNull();
      }),
    );
  });

  test("what is no IBAN is none", () => {
    expect(["ZZ79000000001234567890", "DE79", "", "DE7900000000123456789O!"].map(leadingIban)).toEqual([null, null, null, null]);
    expect([ibanShape("de79 0000 0000 1234 5678 90"), ibanShape("1234567"), ibanShape(null)]).toEqual([
      "DE79000000001234567890",
      null,
      null,
    ]);
  });
});
