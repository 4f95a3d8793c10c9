// The published helper, as it is published, against a service. Prints what it got as JSON.
// Usage: node retry.mts '{"url": …, "options": …}'

async function fetchWithRetry(url: string, options: RequestInit, maxRetries = 3) {
  for (let attempt = 0; attempt < maxRetries; attempt++) {
    const response = await fetch(url, options);

    if (response.status === 429) {
      statuses.push(429);
      const retryAfter = response.headers.get('X-RateLimit-Reset');
      const waitTime = retryAfter
        ? (parseInt(retryAfter) * 1000) - Date.now()
        : Math.pow(2, attempt) * 1000;

      await new Promise(resolve => setTimeout(resolve, Math.max(waitTime, 1000)));
      continue;
    }

    return response;
  }

  throw new Error('Max retries exceeded');
}

const statuses: number[] = [];
const { url, options } = JSON.parse(process.argv[2]);
const response = await fetchWithRetry(url, options);
statuses.push(response.status);
console.log(JSON.stringify({ statuses, document: await response.json() }));
